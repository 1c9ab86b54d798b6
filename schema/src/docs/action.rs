//! The pages of the actions.

use super::page as filled;
use crate::actions::Action;

/// Its page: path and text.
pub(super) fn page(action: Action) -> (String, String) {
    let name = action.type_name();
    let rotates = action == Action::RotateCredentials;
    let way = if rotates { SECRETS } else { REQUEST };
    let rights = if rotates {
        "Those of `examples/rbac/reader.yaml`, the verb `patch` on ConfigMaps, and `create` and `update` on Secrets: a part of \
         `examples/rbac/writer.yaml`. Secrets are written and not read."
    } else {
        "Those of `examples/rbac/reader.yaml`, and the verb `patch` on ConfigMaps: a part of `examples/rbac/writer.yaml`."
    };
    let texts = [
        ("name", name),
        ("elsewhere", &elsewhere(action)),
        ("example", example(action).trim_end()),
        ("way", way),
        ("rights", rights),
    ];
    let text = filled(include_str!("action.md"), action.schema(), false, &texts);
    (format!("docs/actions/{}.md", name.trim_start_matches("postgres_")), text)
}

const REQUEST: &str = "The invocation writes the request into the cluster's desired state; the primary's agent takes it up, and its outcome ends \
     the action. A refusal is an error with the agent's reason: nothing was begun. When the time is up, or the run is stopped, a request that was not \
     taken up yet is withdrawn; one that was goes on in the cluster.";

const SECRETS: &str = "The invocation writes the Secrets, and the cluster's desired state asks for them to be in force; the primary's agent sets the roles' \
     passwords, and says so. That goes on without the provider too. Nobody but the cluster and who may read its Secrets learns the passwords. \
     Between the two an application may read a password that is not in force for a few seconds: let it try again. The password of replication \
     and the agents' key are not rotated: standbys and primary would have to change at one moment.";

/// How it is done where there are no actions.
fn elsewhere(action: Action) -> String {
    let command = match action {
        Action::Switchover => "switchover --to orders-1",
        Action::Restart => "restart --all",
        Action::ReinitReplica => "reinit --pod orders-2",
        Action::RotateCredentials => return ROTATION_BY_HAND.to_owned(),
    };
    format!(
        "With an older one, and with OpenTofu, the pods have the same handle, for who may `exec` in them:\n\n\
         ```console\n$ kubectl --namespace shop exec orders-0 --container postgres -- pgha-agent {command}\n```"
    )
}

const ROTATION_BY_HAND: &str = "With an older one, and with OpenTofu, there are two other ways, and in both open sessions stay:

- The superuser's password: `superuser_password_wo` of the resource, with another `superuser_password_wo_version` (OpenTofu or Terraform 1.11, or newer). It is in force when the apply ends.
- The application's, and the superuser's too: write another `password` into the Secret `<name>-app` or `<name>-superuser`, in `<name>-app` also into `uri`, `plain-uri` and \
  `jdbc-url`, which hold it. The cluster takes it once the kubelet has brought it to the primary's pod, up to a minute and a half later; until then the old one is \
  in force. No plan shows such an edit, and no apply takes it back.";

fn example(action: Action) -> &'static str {
    match action {
        Action::Switchover => include_str!("../../../examples/actions/postgres_ha_switchover/action.tf"),
        Action::Restart => include_str!("../../../examples/actions/postgres_ha_restart/action.tf"),
        Action::ReinitReplica => {
            include_str!("../../../examples/actions/postgres_ha_reinit_replica/action.tf")
        }
        Action::RotateCredentials => {
            include_str!("../../../examples/actions/postgres_ha_rotate_credentials/action.tf")
        }
    }
}
