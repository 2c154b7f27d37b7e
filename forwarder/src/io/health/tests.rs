use std::future::Future;
use std::net::Ipv6Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::config::model::{HttpRequest, Payload, StatusRange};

const LIMIT: Duration = Duration::from_secs(20);
/// For what is to end by it.
const SHORT: Duration = Duration::from_millis(50);

fn run<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(task)
}

fn payload(text: &str) -> Payload {
    Payload(text.as_bytes().to_vec())
}

fn http(status: (u16, u16), expect: Option<&str>) -> Probe {
    let (low, high) = status;
    Probe::Http(HttpRequest {
        path: "/health".into(),
        host: Some("a.example".into()),
        status: vec![StatusRange { low, high }],
        expect: expect.map(payload),
    })
}

fn tcp(send: &str, expect: Option<&str>) -> Probe {
    Probe::Tcp {
        send: payload(send),
        expect: expect.map(payload),
    }
}

fn udp(send: &str, expect: Option<&str>) -> Probe {
    Probe::Udp {
        send: payload(send),
        expect: expect.map(payload),
    }
}

fn target(to: SocketAddr) -> Target {
    Target {
        address: to.ip(),
        port: NonZeroU16::new(to.port()),
        tunnelled: Vec::new(),
    }
}

async fn ask(probe: &Probe, to: SocketAddr, limit: Duration) -> Result<(), ProbeError> {
    let prober = Prober::new(probe).expect("a probe that is ready");
    prober.ask(&target(to), limit, &Replies::default()).await
}

/// Asks a server that gives this answer; the result, and what the server got.
fn tcp_server(answer: &[u8], asked: &Probe) -> (Result<(), ProbeError>, String) {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("its address");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap_or(0);
            request.truncate(length);
            let _ = stream.write_all(answer).await;
            String::from_utf8_lossy(&request).into_owned()
        };
        tokio::join!(ask(asked, to, LIMIT), server)
    })
}

#[test]
fn http_asks_for_path_and_host_and_compares_the_status() {
    let ok = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    let (result, request) = tcp_server(ok, &http((200, 299), None));
    assert_eq!(result, Ok(()));
    assert!(request.starts_with("GET /health HTTP/1.1\r\n"), "{request}");
    assert!(
        request.to_lowercase().contains("host: a.example\r\n"),
        "{request}"
    );
    let other = tcp_server(ok, &http((200, 203), None)).0;
    assert_eq!(other, Err(ProbeError::Status(204)));
    let body = b"HTTP/1.0 200 OK\r\n\r\nfine";
    assert_eq!(tcp_server(body, &http((200, 200), None)).0, Ok(()));
}

#[test]
fn http_compares_the_body() {
    let judge = |body: &[u8], expect| {
        let head = b"HTTP/1.0 200 OK\r\n\r\n";
        tcp_server(&[head, body].concat(), &http((200, 200), Some(expect))).0
    };
    assert_eq!(judge(b"all is fine", "is fine"), Ok(()));
    assert_eq!(judge(b"", ""), Ok(()));
    let text = judge(b"maintenance", "fine")
        .expect_err("lacking")
        .to_string();
    assert_eq!(
        text,
        "the answer lacks \"fine\": it begins with \"maintenance\""
    );
    let text = judge(b"", "fine").expect_err("empty").to_string();
    assert!(text.ends_with("it is empty"), "{text}");
    // Only so much of it is looked at.
    let long = [vec![b'x'; 200_000], b"fine".to_vec()].concat();
    assert!(matches!(
        judge(&long, "fine"),
        Err(ProbeError::Content { .. })
    ));
    let long = [vec![b'x'; 60_000], b"fine".to_vec()].concat();
    assert_eq!(judge(&long, "fine"), Ok(()));
    // A length that is not kept.
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfin";
    let cut = tcp_server(cut, &http((200, 200), Some("fine"))).0;
    assert!(matches!(cut, Err(ProbeError::Http(_))), "{cut:?}");
}

#[test]
fn what_is_not_http_fails() {
    for answer in [&b"SSH-2.0-x\r\n"[..], b"", &[b'a'; 100_000]] {
        let result = tcp_server(answer, &http((200, 200), None)).0;
        assert!(matches!(result, Err(ProbeError::Http(_))), "{result:?}");
    }
}

#[test]
fn tcp_wants_a_connection_and_what_is_expected() {
    assert_eq!(tcp_server(b"", &tcp("", None)).0, Ok(()));
    let (result, got) = tcp_server(b"220 ready\r\n", &tcp("HELO\r\n", Some("220 ")));
    assert_eq!((result, got.as_str()), (Ok(()), "HELO\r\n"));
    let lacking = tcp_server(b"421 busy", &tcp("HELO\r\n", Some("220 "))).0;
    assert!(matches!(lacking, Err(ProbeError::Content { .. })));
}

#[test]
fn an_expectation_is_found_across_parts() {
    let expected = payload("ready");
    let mut content = content::Content::new(&expected);
    assert!(!content.add(b"rea"));
    assert!(!content.add(b"d"));
    assert!(content.add(b"y or not"));
}

#[test]
fn a_closed_port_and_a_silent_server_fail() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("its address");
        for probe in [http((200, 200), None), tcp("", Some("x"))] {
            let silent = ask(&probe, to, SHORT).await;
            assert_eq!(silent, Err(ProbeError::Timeout(SHORT)));
        }
        drop(listener);
        let closed = ask(&tcp("", None), to, LIMIT).await;
        assert!(matches!(closed, Err(ProbeError::Refused(_))), "{closed:?}");
    });
}

#[test]
fn udp_wants_an_answer_or_at_least_no_refusal() {
    run(async {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let to = server.local_addr().expect("its address");
        assert_eq!(ask(&udp("a", None), to, SHORT).await, Ok(()));
        let silent = ask(&udp("b", Some("")), to, SHORT).await;
        assert_eq!(silent, Err(ProbeError::Timeout(SHORT)));
        let answer = async {
            let mut question = [0; 16];
            loop {
                let (length, from) = server.recv_from(&mut question).await.expect("a question");
                if question.get(..length) == Some(b"ping") {
                    server.send_to(b"the pong", from).await.expect("sent");
                }
            }
        };
        let asked = async {
            assert_eq!(ask(&udp("ping", Some("pong")), to, LIMIT).await, Ok(()));
            assert_eq!(ask(&udp("ping", Some("")), to, LIMIT).await, Ok(()));
            let wrong = ask(&udp("ping", Some("ping")), to, LIMIT).await;
            assert!(matches!(wrong, Err(ProbeError::Content { .. })));
        };
        tokio::select! { () = asked => (), () = answer => () }
        drop(server);
        for expect in [None, Some("")] {
            let closed = ask(&udp("", expect), to, LIMIT).await;
            assert!(matches!(closed, Err(ProbeError::Refused(_))), "{closed:?}");
        }
    });
}

#[test]
fn echo_requests_are_answered_or_not() {
    run(async {
        for address in [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()] {
            let to = SocketAddr::new(address, 0);
            for _ in 0..3 {
                assert_eq!(ask(&Probe::Icmp, to, LIMIT).await, Ok(()), "{address}");
            }
        }
        // TEST-NET-1 with nobody in it; what a host without routes says is as good.
        let nobody = SocketAddr::from(([192, 0, 2, 99], 0));
        let result = ask(&Probe::Icmp, nobody, SHORT).await;
        assert!(
            matches!(
                result,
                Err(ProbeError::Timeout(_) | ProbeError::Unreachable(_))
            ),
            "{result:?}"
        );
    });
}
