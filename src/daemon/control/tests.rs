//! The control socket between a command and a daemon of a test.

use std::io::{BufRead, BufReader, Write};

use std::os::unix::net as std_unix;
use std::path::Path;

use super::listen::address;
use super::*;

/// A listener whose node answers every request with its own name.
async fn with_listener(name: &str) -> Listener {
    let (calls, mut called) = mpsc::channel::<Call>(4);
    tokio::spawn(async move {
        while let Some(call) = called.recv().await {
            let _ = call.answer.send(json!({ "asked": call.request }));
        }
    });
    Listener::start(name, Path::new(""), None, calls).unwrap()
}

fn name(test: &str) -> String {
    format!("@hamp-test-{test}-{}", std::process::id())
}

async fn raw(name: String, bytes: Vec<u8>) -> Value {
    tokio::task::spawn_blocking(move || {
        let mut stream = std_unix::UnixStream::connect_addr(&address(&name).unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&bytes).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn requests_are_answered_and_bad_ones_refused() {
    let name = name("requests");
    let _listener = with_listener(&name).await;
    let request = Request::Join {
        prefix: "198.18.0.1/32".parse().unwrap(),
        preference: None,
        scope: None,
    };
    let (asked, to) = (request.clone(), name.clone());
    let answer = tokio::task::spawn_blocking(move || ask(&to, &asked))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer["asked"], serde_json::to_value(&request).unwrap());
    for bad in [
        b"{}\n".to_vec(),
        b"{\"command\":\"halt\"}\n".to_vec(),
        b"{\"command\":\"join\"}\n".to_vec(),
        b"[[[[\n".to_vec(),
        b"\xff\n".to_vec(),
        vec![b'x'; 5000],
    ] {
        let answer = raw(name.clone(), bad).await;
        assert_eq!(
            (&answer["schema"], &answer["exit"]),
            (&json!("hamp.error/1"), &json!(2))
        );
    }
}

#[tokio::test]
async fn a_second_listener_is_refused_and_a_stale_path_is_taken_over() {
    let name = name("second");
    let _first = with_listener(&name).await;
    let nowhere = Path::new("");
    let (calls, _) = mpsc::channel(1);
    let refused = Listener::start(&name, nowhere, None, calls.clone()).unwrap_err();
    assert!(refused.message.contains("another hamp daemon"), "{refused}");

    let path = std::env::temp_dir().join(format!("hamp-control-{}", std::process::id()));
    let text = path.to_str().unwrap();
    drop(std_unix::UnixListener::bind(&path).unwrap());
    let listener = Listener::start(text, nowhere, None, calls.clone()).unwrap();
    assert!(Listener::start(text, nowhere, None, calls).is_err());
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_where_the_socket_should_be_is_left_alone() {
    let path = std::env::temp_dir().join(format!("hamp-no-socket-{}", std::process::id()));
    std::fs::write(&path, "precious").unwrap();
    let (calls, _) = mpsc::channel(1);
    let refused = Listener::start(path.to_str().unwrap(), Path::new(""), None, calls).unwrap_err();
    assert!(
        refused.message.contains("another file is there"),
        "{refused}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn without_a_daemon_the_error_says_how_to_start_one() {
    let error = ask(&name("nobody"), &Request::Status).unwrap_err();
    assert_eq!(error.code, exit::FAILED);
    assert!(error.remedy.unwrap().contains("hamp run --config"));
}
