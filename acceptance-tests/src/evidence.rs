//! What a failure leaves behind for whoever looks into it: histories, logs, the schedule of the faults.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::cluster::Cluster;
use crate::lists::Transaction;
use crate::load::Outcome;
use crate::sandbox::Sandbox;

/// Writes everything into a folder of its own, which outlives the sandbox; gives the folder. `story` is what was done.
///
/// # Errors
/// When it can't be written.
pub async fn keep(
    sandbox: &Sandbox,
    cluster: &Cluster,
    name: &str,
    story: &str,
    ids: Option<&Outcome>,
    lists: &[Transaction],
) -> Result<PathBuf> {
    let folder = sandbox.layout().cache().join("evidence").join(format!("{}-{name}", cluster.namespace));
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut files = vec![
        ("faults.txt".to_owned(), story.to_owned()),
        ("cluster.txt".to_owned(), cluster.report().await),
        ("lists.jsonl".to_owned(), json_lines(lists)?),
    ];
    if let Some(ids) = ids {
        let acknowledged: Vec<String> = ids.acknowledged.iter().map(ToString::to_string).collect();
        files.push(("acknowledged-ids.txt".to_owned(), acknowledged.join("\n") + "\n"));
        files.push(("failures.txt".to_owned(), ids.all_failures.join("\n") + "\n"));
    }
    files.extend(cluster.logs().await);
    for (file, text) in files {
        fs::write(folder.join(&file), text).with_context(|| format!("write {file}"))?;
    }
    Ok(folder)
}

fn json_lines(history: &[Transaction]) -> Result<String> {
    let mut text = String::new();
    for transaction in history {
        text.push_str(&serde_json::to_string(transaction)?);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lists;

    #[test]
    fn a_kept_history_reads_back_as_it_was() {
        let transaction = Transaction {
            client: 1,
            began: Duration::from_millis(5),
            ended: Duration::from_millis(9),
            operations: vec![
                lists::Operation::Read { key: 1, seen: vec![4] },
                lists::Operation::Append { key: 2, value: 5 },
            ],
            outcome: lists::Outcome::Unknown,
        };
        let text = json_lines(&[transaction.clone(), transaction.clone()]).unwrap();
        let back: Vec<Transaction> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(back, [transaction.clone(), transaction]);
    }
}
