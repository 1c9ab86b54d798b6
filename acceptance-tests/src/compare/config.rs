//! The same job in each provider's words.

use anyhow::Result;
use serde_json::{Map, Value as Json, json};

use super::objects::Shape;
use super::subject::{Provider, Subject};

/// How long a provider may wait for pods: what never comes up is to be known soon.
const WAIT_SECONDS: u32 = 45;

/// Chart of all objects in its values.
const CHART: [(&str, &str); 2] = [
    (
        "chart/Chart.yaml",
        "apiVersion: v2\nname: plain-postgres\nversion: 1.0.0\ndescription: the objects in its values\n",
    ),
    ("chart/templates/objects.yaml", "{{- range .Values.objects }}\n---\n{{ toYaml . }}\n{{- end }}\n"),
];

/// The files of a configuration: path and text.
///
/// # Errors
/// When an object can't be written as YAML.
pub fn files(subject: &Subject, shape: &Shape) -> Result<Vec<(&'static str, String)>> {
    let provider = subject.provider;
    let mut resources = Map::new();
    match provider {
        Provider::Kubernetes => {
            for (key, object) in shape.objects() {
                resources.insert(key.to_owned(), kubernetes_manifest(key, object));
            }
        }
        Provider::Kubectl => {
            for (key, object) in shape.objects() {
                resources.insert(key.to_owned(), kubectl_manifest(&object, subject.option.is_some())?);
            }
        }
        Provider::Helm => {
            resources.insert("this".to_owned(), helm_release(shape)?);
        }
    }
    let settings = match (provider, subject.option) {
        (Provider::Helm, Some(_)) => json!({ "experiments": { "manifest": true } }),
        (Provider::Kubernetes | Provider::Kubectl | Provider::Helm, _) => json!({}),
    };
    let main = json!({
        "terraform": {
            "required_providers": {
                provider.kind(): { "source": provider.source(), "version": subject.version },
            },
        },
        "provider": { provider.kind(): settings },
        "resource": { provider.resource(): resources },
    });
    let mut files = vec![("main.tf.json", serde_json::to_string_pretty(&main)?)];
    if provider == Provider::Helm {
        files.extend(CHART.map(|(path, text)| (path, text.to_owned())));
    }
    Ok(files)
}

/// Address of the resource that holds the StatefulSet.
pub fn set_address(provider: Provider) -> String {
    let name = if provider == Provider::Helm { "this" } else { "set" };
    format!("{}.{name}", provider.resource())
}

fn timeouts() -> Json {
    let wait = format!("{WAIT_SECONDS}s");
    json!({ "create": wait, "update": wait, "delete": "90s" })
}

fn kubernetes_manifest(key: &str, object: Json) -> Json {
    let mut resource = json!({ "manifest": object, "timeouts": timeouts() });
    if key == "set" {
        resource["wait"] = json!({ "rollout": true });
    }
    resource
}

fn kubectl_manifest(object: &Json, showing_values: bool) -> Result<Json> {
    let mut resource = json!({ "yaml_body": serde_yaml_ng::to_string(object)?, "timeouts": timeouts() });
    if showing_values {
        resource["show_drift_values"] = "full".into();
    }
    Ok(resource)
}

fn helm_release(shape: &Shape) -> Result<Json> {
    let objects = shape.objects().map(|(_, mut object)| {
        // By convention, as `helm create` has it; the manifest experiment does not survive its first apply without it.
        object["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "Helm".into();
        object
    });
    Ok(json!({
        "name": shape.name,
        "namespace": shape.namespace,
        "chart": "${path.module}/chart",
        "timeout": WAIT_SECONDS,
        "values": [serde_yaml_ng::to_string(&json!({ "objects": objects }))?],
    }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn main_of(file: &str, option: bool) -> Json {
        let all = Subject::of_binary(Path::new(file));
        let subject = all.into_iter().find(|subject| subject.option.is_some() == option).unwrap();
        let files = files(&subject, &Shape::new("ns", 2)).unwrap();
        assert_eq!(files[0].0, "main.tf.json");
        serde_json::from_str(&files[0].1).unwrap()
    }

    #[test]
    fn each_provider_has_the_same_objects() {
        let of_kubernetes = main_of("terraform-provider-kubernetes_v3.2.1", false);
        let manifests = &of_kubernetes["resource"]["kubernetes_manifest"];
        let of_kubectl = main_of("terraform-provider-kubectl_v2.4.1", false);
        let of_helm = main_of("terraform-provider-helm_v3.1.2", false);
        let values = of_helm["resource"]["helm_release"]["this"]["values"][0].as_str().unwrap();
        let values: Json = serde_yaml_ng::from_str(values).unwrap();
        for (at, (key, object)) in Shape::new("ns", 2).objects().into_iter().enumerate() {
            assert_eq!(manifests[key]["manifest"], object);
            let body = of_kubectl["resource"]["kubectl_manifest"][key]["yaml_body"].as_str().unwrap();
            assert_eq!(serde_yaml_ng::from_str::<Json>(body).unwrap(), object);
            let in_chart = &values["objects"][at];
            assert_eq!((&in_chart["kind"], &in_chart["spec"]), (&object["kind"], &object["spec"]));
            assert_eq!(in_chart["data"], object["data"]);
            assert_eq!(in_chart["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
        }
    }

    #[test]
    fn options_are_set_where_they_are_asked_for() {
        let file = "terraform-provider-helm_v3.1.2";
        assert_eq!(main_of(file, false)["provider"]["helm"], json!({}));
        assert_eq!(main_of(file, true)["provider"]["helm"]["experiments"]["manifest"], true);
        let file = "terraform-provider-kubectl_v3.0.0-beta3";
        let resource = |option: bool| main_of(file, option)["resource"]["kubectl_manifest"]["set"].clone();
        assert!(resource(false).get("show_drift_values").is_none());
        assert_eq!(resource(true)["show_drift_values"], "full");
    }
}
