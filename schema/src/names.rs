//! Every name that the provider and the agent both use, spelled once (design.md, section 3).

/// Prefix of the labels and annotations of our own.
pub const PREFIX: &str = "pgha/";

/// Whether a label or annotation with this key is the cluster's own, so that nobody else may set it.
pub fn is_own_key(key: &str) -> bool {
    let prefix = key.split_once('/').map(|(prefix, _)| prefix);
    key == LABEL_ROLE || matches!(prefix, Some("pgha" | "app.kubernetes.io"))
}

/// Pod label that says who serves writes: [`ROLE_PRIMARY`] or [`ROLE_REPLICA`].
pub const LABEL_ROLE: &str = "role";
/// The value of [`LABEL_ROLE`] on the pod behind the rw Service.
pub const ROLE_PRIMARY: &str = "primary";
/// The value of [`LABEL_ROLE`] on every other pod.
pub const ROLE_REPLICA: &str = "replica";
/// Pod label, `true` on those behind the ro Service.
pub const LABEL_READ_ONLY: &str = "pgha/ro";
/// Label with the product's name.
pub const LABEL_NAME: &str = "app.kubernetes.io/name";
/// Label with the cluster's name.
pub const LABEL_INSTANCE: &str = "app.kubernetes.io/instance";
/// Label with the part that the object plays.
pub const LABEL_COMPONENT: &str = "app.kubernetes.io/component";
/// Label with who manages the object.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`LABEL_NAME`].
pub const APP_NAME: &str = "postgres-ha";
/// Value of [`LABEL_MANAGED_BY`], and the field manager of server-side apply.
pub const MANAGER: &str = "terraform-provider-postgres";
/// Field manager of the agent's writes.
pub const AGENT_MANAGER: &str = "pgha-agent";

/// Lease annotation that holds the [`Record`](crate::record::Record) as JSON.
pub const ANNOTATION_RECORD: &str = "pgha/record";
/// Annotation with the anchor's uid, on StatefulSet, Lease and volumes claims (P16).
pub const ANNOTATION_ANCHOR_UID: &str = "pgha/anchor-uid";
/// Annotation with PostgreSQL's system identifier, on StatefulSet and volume claims, written by the agent (A4).
pub const ANNOTATION_SYSTEM_IDENTIFIER: &str = "pgha/system-identifier";
/// Annotation of a kept volume's claim with the `bootstrap` that its data was made with, as JSON (P21).
pub const ANNOTATION_BOOTSTRAP: &str = "pgha/bootstrap";
/// Annotation `true` on a claim whose cluster was destroyed before it ever held data (P21).
pub const ANNOTATION_NEVER_INITIALISED: &str = "pgha/never-initialised";
/// Pod annotation with the hash of the template that it was made from; another than the desired one means: roll.
pub const ANNOTATION_TEMPLATE_HASH: &str = "pgha/template-hash";
/// Pod annotation that the agent sets when it waits for a newer Secret: a change of a pod makes its kubelet bring Secrets up to
/// date at once rather than within a minute.
pub const ANNOTATION_CREDENTIALS: &str = "pgha/credentials";
/// Pod annotation with the SHA-256 of the agent binary.
pub const ANNOTATION_AGENT_HASH: &str = "pgha/agent-hash";

/// Key of the desired document in ConfigMap `<name>-desired`.
pub const KEY_DESIRED: &str = "desired.json";
/// Key of the status document in ConfigMap `<name>-status`.
pub const KEY_STATUS: &str = "status.json";

/// The one container that matters; exec and logs go there.
pub const CONTAINER_POSTGRES: &str = "postgres";
/// The init container that assembles the agent.
pub const CONTAINER_AGENT_INSTALL: &str = "install-agent";
/// Where the volume is mounted.
pub const VOLUME_DIR: &str = "/var/lib/pgha";
/// PGDATA, a subdirectory of the volume.
pub const PGDATA: &str = "/var/lib/pgha/pgdata";
/// Where the agent's binary lies in the container, on PATH.
pub const AGENT_DIR: &str = "/usr/local/sbin";
/// Where an image of the agent (`agent_image`) holds it.
pub const AGENT_IN_IMAGE: &str = "/pgha-agent";
/// The agent's full path in the container.
pub const AGENT_PATH: &str = "/usr/local/sbin/pgha-agent";
/// Where the three Secrets are mounted: `superuser`, `app` and `internal` below it, a file a key.
pub const SECRETS_DIR: &str = "/etc/pgha/secrets";
/// Where the Secret with the server's certificate is mounted, in pods that were made with one.
pub const TLS_DIR: &str = "/etc/pgha/tls";
/// PostgreSQL's unix socket directory.
pub const SOCKET_DIR: &str = "/var/run/postgresql";
/// PostgreSQL's port.
pub const POSTGRES_PORT: u16 = 5432;
/// The agents' REST port.
pub const REST_PORT: u16 = 8008;
/// Role used for streaming replication and pg_rewind.
pub const ROLE_REPLICATION: &str = "pgha_replication";

/// Under which name a role inside PostgreSQL stands beside altered settings: no setting's name has a space.
pub fn role_inside(role: &str) -> String {
    format!("{ROLE_INSIDE}{role}")
}

/// The same of a database.
pub fn database_inside(database: &str) -> String {
    format!("{DATABASE_INSIDE}{database}")
}

/// How names of [`role_inside`] begin.
pub const ROLE_INSIDE: &str = "role ";
/// How names of [`database_inside`] begin.
pub const DATABASE_INSIDE: &str = "database ";

/// Environment variables that the pod template sets for guard and agent.
pub mod env {
    /// Cluster name (StatefulSet, Lease).
    pub const CLUSTER: &str = "PGHA_CLUSTER";
    /// Downward API: `metadata.name`.
    pub const POD_NAME: &str = "POD_NAME";
    /// Downward API: `metadata.namespace`.
    pub const POD_NAMESPACE: &str = "POD_NAMESPACE";
    /// Downward API: `metadata.uid`.
    pub const POD_UID: &str = "POD_UID";
    /// Downward API: `status.podIP`.
    pub const POD_IP: &str = "POD_IP";
    /// Downward API: `spec.nodeName`.
    pub const NODE_NAME: &str = "NODE_NAME";
    /// The anchor's uid: which cluster this pod belongs to.
    pub const ANCHOR_UID: &str = "PGHA_ANCHOR_UID";
    /// The hash of the pod template that the pod was made from.
    pub const TEMPLATE_HASH: &str = "PGHA_TEMPLATE_HASH";
}

/// Keys of the Secrets.
pub mod secret_key {
    /// User name, in `<name>-superuser` and `<name>-app`.
    pub const USERNAME: &str = "username";
    /// Password, in `<name>-superuser` and `<name>-app`.
    pub const PASSWORD: &str = "password";
    /// Which writing of the Secret this is, in `<name>-superuser` and `<name>-app`; none in the one that the create made
    /// ([`Credentials`](crate::desired::Credentials)).
    pub const ROTATION: &str = "rotation";
    /// Host of the rw Service, in `<name>-app`.
    pub const HOST: &str = "host";
    /// Port, in `<name>-app`.
    pub const PORT: &str = "port";
    /// Database, in `<name>-app`.
    pub const DBNAME: &str = "dbname";
    /// libpq URI with keepalives and timeouts, in `<name>-app`.
    pub const URI: &str = "uri";
    /// A URI that every driver understands, in `<name>-app`: no setting but `connect_timeout`.
    pub const PLAIN_URI: &str = "plain-uri";
    /// A URL for pgJDBC, in `<name>-app`.
    pub const JDBC_URL: &str = "jdbc-url";
    /// Password of [`super::ROLE_REPLICATION`], in `<name>-internal`.
    pub const REPLICATION_PASSWORD: &str = "replication-password";
    /// Key (64 hex digits) that authenticates promises, heartbeats and writing REST calls, in `<name>-internal`.
    pub const AGENT_KEY: &str = "agent-key";
}

/// Keys of the Secret with the server's certificate, as cert-manager and Kubernetes' type `kubernetes.io/tls` have them.
pub mod tls_key {
    /// The certificate, with those between it and its authority behind it.
    pub const CERTIFICATE: &str = "tls.crt";
    /// Its key.
    pub const KEY: &str = "tls.key";
    /// The authority's certificate.
    pub const AUTHORITY: &str = "ca.crt";
}

/// The names of the objects of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    cluster: String,
}

macro_rules! suffixed {
    ($($(#[$doc:meta])* $method:ident = $suffix:literal;)*) => {
        $($(#[$doc])* pub fn $method(&self) -> String { format!(concat!("{}", $suffix), self.cluster) })*
    };
}

impl Names {
    /// Names for the cluster called `cluster`.
    pub fn new(cluster: &str) -> Self {
        Self { cluster: cluster.to_owned() }
    }

    /// StatefulSet, Lease, ServiceAccount, Role, RoleBinding, PodDisruptionBudget and NetworkPolicy.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    suffixed! {
        /// Service that reaches the primary.
        service_rw = "-rw";
        /// Service that reaches standbys.
        service_ro = "-ro";
        /// Service that reaches every instance.
        service_r = "-r";
        /// Headless Service that names the pods.
        service_pods = "-pods";
        /// ConfigMap that is the cluster's identity (P12, P16).
        anchor = "-anchor";
        /// ConfigMap with the desired state.
        desired = "-desired";
        /// ConfigMap with the agents' status.
        status = "-status";
        /// Secret of the superuser.
        secret_superuser = "-superuser";
        /// Secret of the application's user.
        secret_app = "-app";
        /// Secret of the agents.
        secret_internal = "-internal";
    }

    /// The pod with this ordinal.
    pub fn pod(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.cluster)
    }

    /// The volume claim of the pod with this ordinal.
    pub fn claim(&self, ordinal: u32) -> String {
        format!("data-{}-{ordinal}", self.cluster)
    }

    /// The ordinal in a pod's or a claim's name, when it is of this cluster.
    pub fn ordinal(&self, name: &str) -> Option<u32> {
        let name = name.strip_prefix("data-").filter(|rest| rest.starts_with(&self.cluster)).unwrap_or(name);
        let digits = name.strip_prefix(&self.cluster)?.strip_prefix('-')?;
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    }

    /// The name by which the pod with this ordinal is found inside the Kubernetes cluster, whether it is ready or not.
    pub fn pod_host(&self, ordinal: u32, namespace: &str) -> String {
        format!("{}.{}.{namespace}.svc", self.pod(ordinal), self.service_pods())
    }

    /// Host of the rw Service inside the Kubernetes cluster.
    pub fn rw_host(&self, namespace: &str) -> String {
        format!("{}.{namespace}.svc", self.service_rw())
    }

    /// Host of the ro Service inside the Kubernetes cluster.
    pub fn ro_host(&self, namespace: &str) -> String {
        format!("{}.{namespace}.svc", self.service_ro())
    }
}

/// Letters of a SHA-256 that names hold.
const SHORT_HASH: usize = 16;

/// The part of an agent's SHA-256 that names its ConfigMaps.
pub fn short_hash(sha256: &str) -> &str {
    sha256.get(..SHORT_HASH).unwrap_or(sha256)
}

/// The ConfigMap that owns those that carry the agent's binary, and is owned by the clusters that run it.
pub fn agent_head(hash: &str) -> String {
    format!("pgha-agent-{hash}")
}

/// One of the ConfigMaps that carry the agent's binary.
pub fn agent_chunk(hash: &str, index: usize) -> String {
    format!("{}-{index}", agent_head(hash))
}

/// The head that an agent's chunk belongs to, by their names; a head's own name is its head's.
pub fn agent_head_of(name: &str) -> &str {
    // No chunk has an index as long as a hash is.
    let is_index = |index: &str| index.len() < SHORT_HASH && index.bytes().all(|byte| byte.is_ascii_digit());
    name.rsplit_once('-').filter(|(_, index)| is_index(index)).map_or(name, |(head, _)| head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_tells_its_head_and_a_head_is_its_own() {
        for hash in ["0123456789abcdef", "1234567890123456"] {
            let head = agent_head(hash);
            assert_eq!(agent_head_of(&head), head);
            assert_eq!(agent_head_of(&agent_chunk(hash, 12)), head);
        }
    }

    #[test]
    fn ordinals_come_back_from_names() {
        let names = Names::new("orders");
        assert_eq!(names.ordinal(&names.pod(2)), Some(2));
        assert_eq!(names.ordinal(&names.claim(10)), Some(10));
        for other in ["orders", "orders-", "orders-x", "orders-01", "order-1", "data-other-1", "orders-rw-1"]
        {
            assert_eq!(names.ordinal(other), None, "{other}");
        }
    }
}
