//! The job: PostgreSQL with a primary and a standby out of plain objects, as one would write them without a provider for it.

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::sandbox::STORAGE_CLASS;

/// Which key of the ConfigMap holds PostgreSQL's settings.
pub const SETTINGS_KEY: &str = "settings.conf";

/// What a configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Name of the StatefulSet; the others' names begin with it.
    pub name: String,
    /// Where the objects are.
    pub namespace: String,
    /// Primary and standbys.
    pub replicas: u32,
    /// Tag of the image.
    pub image: String,
    /// Size of each volume.
    pub storage: String,
    /// PostgreSQL's settings, as lines.
    pub settings: String,
    /// Where the Service for writes sends connections.
    pub target_port: u16,
}

impl Shape {
    /// One primary and so many standbys less one.
    pub fn new(namespace: &str, replicas: u32) -> Self {
        // Without a standby a synchronous one would be waited for in vain.
        let names = if replicas > 1 { "ANY 1 (*)" } else { "" };
        Self {
            name: "pg".to_owned(),
            namespace: namespace.to_owned(),
            replicas,
            image: "18".to_owned(),
            storage: "1Gi".to_owned(),
            settings: format!(
                "max_connections = 50\nwork_mem = '4MB'\nsynchronous_standby_names = '{names}'\n"
            ),
            target_port: 5432,
        }
    }

    /// Name of the ConfigMap with the settings.
    pub fn settings_name(&self) -> String {
        format!("{}-settings", self.name)
    }

    /// Name of the Service for writes.
    pub fn rw_name(&self) -> String {
        format!("{}-rw", self.name)
    }

    /// The objects, each with the name that a configuration gives it.
    pub fn objects(&self) -> [(&'static str, Json); 4] {
        let settings = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": self.settings_name(), "namespace": self.namespace },
            "data": { SETTINGS_KEY: self.settings },
        });
        let labels = json!({ "app": self.name });
        let peers = self.service(
            &self.name,
            json!({ "clusterIP": "None", "publishNotReadyAddresses": true, "selector": labels }),
            5432,
        );
        let selector = json!({ "selector": { "app": self.name, "role": "primary" } });
        let rw = self.service(&self.rw_name(), selector, self.target_port);
        [("settings", settings), ("peers", peers), ("rw", rw), ("set", self.set())]
    }

    fn service(&self, name: &str, mut spec: Json, target_port: u16) -> Json {
        spec["ports"] =
            json!([{ "name": "postgres", "port": 5432, "protocol": "TCP", "targetPort": target_port }]);
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name, "namespace": self.namespace },
            "spec": spec,
        })
    }

    fn set(&self) -> Json {
        let labels = json!({ "app": self.name });
        // As charts do it, so that new settings roll the pods.
        let checksum = hex::encode(&Sha256::digest(self.settings.as_bytes())[..8]);
        let container = json!({
            "name": "postgres",
            "image": format!("docker.io/library/postgres:{}", self.image),
            "command": ["sh", "-c", script(&self.name)],
            "readinessProbe": { "tcpSocket": { "port": 5432 }, "periodSeconds": 1 },
            "volumeMounts": [
                { "name": "data", "mountPath": "/data" },
                { "name": "settings", "mountPath": "/settings" },
            ],
        });
        let claim = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": { "name": "data" },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": STORAGE_CLASS,
                "resources": { "requests": { "storage": self.storage } },
            },
        });
        json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": { "name": self.name, "namespace": self.namespace, "labels": { "team": "db" } },
            "spec": {
                "replicas": self.replicas,
                "serviceName": self.name,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels, "annotations": { "checksum/settings": checksum } },
                    "spec": {
                        "containers": [container],
                        "securityContext": { "runAsUser": 999, "runAsGroup": 999, "fsGroup": 999 },
                        "terminationGracePeriodSeconds": 10,
                        "volumes": [{ "name": "settings", "configMap": { "name": self.settings_name() } }],
                    },
                },
                "volumeClaimTemplates": [claim],
            },
        })
    }
}

/// Pod 0 begins a cluster, the others copy it; without braces after a dollar, which Terraform would read as an expression. The mode,
/// since a volume that is mounted again with an fsGroup lets the group in, and PostgreSQL refuses that.
fn script(name: &str) -> String {
    format!(
        "set -e\nD=/data/pg\nif [ ! -s $D/PG_VERSION ]; then\n  case $HOSTNAME in\n  *-0)\n    \
         initdb --no-sync -U postgres -D $D >/dev/null\n    echo 'host all,replication all all trust' >> $D/pg_hba.conf\n    \
         echo \"include_if_exists '/settings/{SETTINGS_KEY}'\" >> $D/postgresql.conf ;;\n  *)\n    \
         until pg_basebackup -h {name}-0.{name} -U postgres -D $D -R -X stream; do rm -rf $D; sleep 1; done ;;\n  esac\nfi\n\
         chmod 0700 $D\nexec postgres -D $D -k /tmp -c listen_addresses='*'\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_object_holds_what_terraform_would_read_as_an_expression() {
        for (key, object) in Shape::new("ns", 2).objects() {
            let text = object.to_string();
            assert!(!text.contains("${") && !text.contains("%{"), "{key}: {text}");
        }
    }

    #[test]
    fn other_settings_roll_the_pods() {
        let checksum = |shape: &Shape| {
            let [.., (_, set)] = shape.objects();
            set["spec"]["template"]["metadata"]["annotations"]["checksum/settings"].to_string()
        };
        let asked = Shape::new("ns", 2);
        let other = Shape { settings: "work_mem = '1MB'\n".to_owned(), ..asked.clone() };
        assert_ne!(checksum(&asked), checksum(&other));
    }

    #[test]
    fn only_with_a_standby_are_commits_confirmed_by_one() {
        assert!(Shape::new("ns", 2).settings.contains("'ANY 1 (*)'"));
        assert!(Shape::new("ns", 1).settings.contains("synchronous_standby_names = ''"));
    }
}
