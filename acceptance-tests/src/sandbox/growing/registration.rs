//! How the kubelet learns of a driver: it finds a socket and asks there (pluginregistration v1).
//!
//! It names the socket's path as the authority of its requests, which HTTP libraries refuse; so the few frames of HTTP/2 that one
//! answer takes are written by hand (RFC 9113, RFC 7541). Whatever is asked gets the driver's description: to the
//! kubelet's second call, which tells whether it has taken the driver on, any message is an answer.

use anyhow::{Result, ensure};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::pb::registration::PluginInfo;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// Of a settings frame or a ping: this answers one.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` and `content-type: application/grpc`.
const OK: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// `grpc-status: 0`.
const DONE: &[u8] = b"\x00\x0bgrpc-status\x010";

/// Answers on this socket until it is ended.
pub async fn serve(listener: UnixListener, info: PluginInfo) -> Result<()> {
    let message = info.encode_to_vec();
    loop {
        let (stream, _) = listener.accept().await?;
        // Its caller shows why it gave up; the next one comes by itself.
        let _ = converse(stream, &message).await;
    }
}

async fn converse(mut stream: UnixStream, message: &[u8]) -> Result<()> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await?;
    ensure!(preface == PREFACE, "no HTTP/2");
    send(&mut stream, SETTINGS, 0, 0, &[]).await?;
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return Ok(());
        }
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        stream.read_exact(&mut payload).await?;
        let id = u32::from_be_bytes([s0, s1, s2, s3]);
        match kind {
            SETTINGS if flags & ACK == 0 => send(&mut stream, SETTINGS, ACK, 0, &[]).await?,
            PING if flags & ACK == 0 => send(&mut stream, PING, ACK, 0, &payload).await?,
            DATA if flags & END_STREAM != 0 => {
                // Not compressed, and its length.
                let length = u32::try_from(message.len())?.to_be_bytes();
                send(&mut stream, HEADERS, END_HEADERS, id, OK).await?;
                send(&mut stream, DATA, 0, id, &[&[0], &length[..], message].concat()).await?;
                send(&mut stream, HEADERS, END_HEADERS | END_STREAM, id, DONE).await?;
            }
            _ => {}
        }
    }
}

async fn send(stream: &mut UnixStream, kind: u8, flags: u8, id: u32, payload: &[u8]) -> Result<()> {
    let length = u32::try_from(payload.len())?.to_be_bytes();
    let frame = [&length[1..], &[kind, flags], &id.to_be_bytes(), payload].concat();
    stream.write_all(&frame).await?;
    Ok(())
}
