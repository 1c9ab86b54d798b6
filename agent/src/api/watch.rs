//! Watches: they only say that something changed and what it is now; whoever needs to be sure reads again (A1).

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::mpsc;

use super::Api;

/// The server ends a watch after this long, so that a dead one is replaced.
const WATCH_S: u32 = 240;
/// A watch that brings nothing for this long is opened again: connections die silently.
const SILENCE: Duration = Duration::from_secs(90);
/// Between two attempts to open one.
const PAUSE: Duration = Duration::from_millis(500);
const OPEN_DEADLINE: Duration = Duration::from_secs(3);
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum Event {
    /// An object is there, or changed.
    Present(Value),
    /// An object is gone.
    Gone(Value),
    /// The watch starts anew: the full list follows from a read.
    Listed(Vec<Value>),
}

/// Watches a collection for ever: lists, then follows, and lists again whenever the watch ends.
///
/// `path` has a query already or none; `None` is never sent: the receiver's end ends the watch.
pub async fn follow(api: Arc<Api>, path: String, events: mpsc::Sender<Event>) {
    loop {
        if let Ok(list) = api.get(&path, OPEN_DEADLINE).await {
            let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            let items = match list {
                Value::Object(mut map) => match map.remove("items") {
                    Some(Value::Array(items)) => items,
                    _ => Vec::new(),
                },
                _ => Vec::new(),
            };
            if events.send(Event::Listed(items)).await.is_err() {
                return;
            }
            stream(&api, &path, &version, &events).await;
        }
        if events.is_closed() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn stream(api: &Api, path: &str, version: &str, events: &mpsc::Sender<Event>) {
    let mark = if path.contains('?') { '&' } else { '?' };
    let path = format!(
        "{path}{mark}watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}&resourceVersion={version}"
    );
    let Ok(mut body) = api.open_watch(&path, OPEN_DEADLINE).await else { return };
    let mut buffer: Vec<u8> = Vec::new();
    loop {
        let Ok(Some(Ok(frame))) = tokio::time::timeout(SILENCE, body.frame()).await else { return };
        let Some(bytes) = frame.data_ref() else { continue };
        buffer.extend_from_slice(bytes);
        if buffer.len() > MAX_EVENT_BYTES {
            return;
        }
        while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            match parse(&line) {
                Line::Event(event) => {
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
                Line::Bookmark => {}
                Line::Broken => return,
            }
        }
    }
}

/// One line of a watch.
pub(crate) enum Line {
    /// Something changed.
    Event(Event),
    /// The watch lives.
    Bookmark,
    /// An error, or half a line: the watch must start anew.
    Broken,
}

pub(crate) fn parse(line: &[u8]) -> Line {
    let Ok(mut event) = serde_json::from_slice::<Value>(line) else { return Line::Broken };
    let object = event["object"].take();
    match event["type"].as_str() {
        Some("ADDED" | "MODIFIED") => Line::Event(Event::Present(object)),
        Some("DELETED") => Line::Event(Event::Gone(object)),
        Some("BOOKMARK") => Line::Bookmark,
        _ => Line::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_errors_end_the_watch() {
        let present = parse(br#"{"type":"MODIFIED","object":{"kind":"Lease"}}"#);
        assert!(matches!(present, Line::Event(Event::Present(object)) if object["kind"] == "Lease"));
        assert!(matches!(parse(br#"{"type":"DELETED","object":{}}"#), Line::Event(Event::Gone(_))));
        assert!(matches!(parse(br#"{"type":"BOOKMARK","object":{}}"#), Line::Bookmark));
        assert!(matches!(parse(br#"{"type":"ERROR","object":{"code":410}}"#), Line::Broken));
        assert!(matches!(parse(b"half a li"), Line::Broken));
    }
}
