//! Monitors become health checks.

use super::LeftOut;
use super::emit::quoted;
use super::object::Object;

/// Keys of a health check with their values as TOML.
pub type Keys = Vec<(&'static str, String)>;

/// What the BIG-IP's own monitors are, by their names in declarations and on the device.
pub fn built_in(name: &str) -> Option<Keys> {
    let name = name.trim_start_matches("/Common/");
    let kind = match name {
        "http" | "https" | "tcp" | "udp" => name,
        "tcp-half-open" | "tcp_half_open" => "tcp",
        "icmp" | "gateway-icmp" | "gateway_icmp" => "icmp",
        _ => return None,
    };
    let mut keys = vec![("type", quoted(kind))];
    if kind.starts_with("http") {
        keys.push(("status", "[\"100-599\"]".into()));
    }
    keys.extend(timing(5, 16));
    Some(keys)
}

/// A monitor that is declared; `None`: there is nothing like it here, and the reason is said.
pub fn declared(mut object: Object<'_>, out: &mut Vec<LeftOut>) -> Option<Keys> {
    let kind = match object.text("monitorType") {
        Some(kind @ ("http" | "https" | "tcp" | "udp")) => kind,
        Some("tcp-half-open") => "tcp",
        Some("icmp" | "gateway-icmp") => "icmp",
        kind => {
            let why = format!(
                "there is no health check of type {}",
                kind.unwrap_or("unknown")
            );
            object.leave("monitorType", why, out);
            return None;
        }
    };
    let mut keys = vec![("type", quoted(kind))];
    let interval = object.number("interval").unwrap_or(5).clamp(1, 3600);
    let timeout = object.number("timeout").unwrap_or(16).max(1);
    if let Some(port) = object
        .number("targetPort")
        .filter(|port| (1..=65535).contains(port))
    {
        keys.push(("port", port.to_string()));
    }
    match kind {
        "http" | "https" => http(&mut object, &mut keys, out),
        "tcp" | "udp" => {
            for (from, to) in [("send", "send"), ("receive", "expect")] {
                match object.text(from).map(unescaped) {
                    Some(text) if !text.is_empty() && from == "receive" && is_pattern(&text) => {
                        object.leave(from, "it is a pattern; a check looks for a text", out);
                    }
                    Some(text) if !text.is_empty() => keys.push((to, quoted(&text))),
                    _ => (),
                }
            }
        }
        _ => (),
    }
    keys.extend(timing(interval, timeout));
    object.finish(out);
    Some(keys)
}

/// The device waits `timeout` for any good answer; a check here fails several times in a row.
fn timing(interval: i64, timeout: i64) -> Keys {
    vec![
        ("interval", quoted(&format!("{interval}s"))),
        ("timeout", quoted(&format!("{}s", interval.min(timeout)))),
        ("fall", (timeout / interval).clamp(1, 100).to_string()),
    ]
}

fn http(object: &mut Object<'_>, keys: &mut Keys, out: &mut Vec<LeftOut>) {
    let send = object.text("send").map(unescaped).unwrap_or_default();
    let mut lines = send.split("\r\n");
    let mut request = lines.next().unwrap_or_default().split_whitespace();
    match (request.next(), request.next()) {
        (Some("GET"), Some(path)) if path.starts_with('/') => keys.push(("path", quoted(path))),
        (None, _) => (),
        _ => object.leave("send", "a check asks with GET for a path", out),
    }
    let mut other = false;
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "host" if !value.trim().is_empty() => keys.push(("host", quoted(value.trim()))),
            "connection" | "user-agent" | "host" => (),
            _ => other = true,
        }
    }
    if other {
        object.leave("send", "of the headers only Host is sent", out);
    }
    let receive = object.text("receive").map(unescaped).unwrap_or_default();
    if let Some(status) = status(&receive) {
        keys.push(("status", format!("[{status}]")));
    } else if receive.is_empty() {
        keys.push(("status", "[\"100-599\"]".into()));
    } else if is_pattern(&receive) {
        object.leave(
            "receive",
            "it is a pattern; a check looks for a text, so status 200 is what counts",
            out,
        );
    } else {
        keys.push(("status", "[\"100-599\"]".into()));
        keys.push(("expect", quoted(&receive)));
    }
}

/// The status code that a text of an answer's first line wants.
fn status(receive: &str) -> Option<u16> {
    let rest = receive.trim_start_matches('^');
    let rest = match rest.strip_prefix("HTTP/1.") {
        Some(rest) => rest
            .trim_start_matches(['0', '1', '.', '(', '|', ')', '[', ']'])
            .trim_start(),
        None => rest,
    };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let after = &rest[digits.len()..];
    let ends = after.is_empty() || after.starts_with(' ') && !is_pattern(after);
    (digits.len() == 3 && ends)
        .then(|| digits.parse().ok())
        .flatten()
        .filter(|code| (100..600).contains(code))
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '+', '?', '[', ']', '(', ')', '|', '^', '$', '\\'])
}

/// Declarations write line ends as two characters.
fn unescaped(text: &str) -> String {
    text.replace("\\r", "\r").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_are_seen_in_what_is_to_be_received() {
        for (text, code) in [
            ("200 OK", Some(200)),
            ("HTTP/1.1 200", Some(200)),
            ("^HTTP/1.(0|1) 204", Some(204)),
            ("200", Some(200)),
            ("2000", None),
            ("healthy", None),
            ("HTTP/1.1 2..", None),
            ("999", None),
        ] {
            assert_eq!(status(text), code, "{text}");
        }
    }
}
