//! Hosts and paths in the one form in which they are compared, so that no other spelling takes another route
//! (RFC 3986 §6.2.2). What is forwarded stays as it came.

use std::borrow::Cow;

/// The name in a Host field: lower case, without port and final dot (RFC 9110 §7.2).
#[must_use]
pub fn host_name(host: &str) -> Cow<'_, str> {
    let name = match host.rfind(']') {
        Some(end) => host.get(..=end).unwrap_or(host),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// The path of a request target (its query is left out) with escapes decoded, slashes merged and dot segments
/// resolved, as nginx compares it: `/a//b/../%63` is `/a/c`. Bytes that are not UTF-8 become U+FFFD.
#[must_use]
pub fn normal_path(target: &str) -> Cow<'_, str> {
    let path = target.split('?').next().unwrap_or_default();
    if !path.contains('%') && !path.contains("//") && !path.contains("/.") {
        return Cow::Borrowed(path);
    }
    let decoded = decode(path);
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    let mut normal = String::with_capacity(decoded.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if normal.is_empty() || ["/", "/.", "/.."].iter().any(|end| decoded.ends_with(end)) {
        normal.push('/');
    }
    Cow::Owned(normal)
}

/// Decodes `%41`; an escape that is none stays as it is.
fn decode(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_spelling() {
        let rows = [
            ("chat.example.com", "chat.example.com"),
            ("Chat.Example.com:8765", "chat.example.com"),
            ("chat.example.com.", "chat.example.com"),
            ("chat.example.com.:80", "chat.example.com"),
            ("[::1]:8765", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ];
        for (host, name) in rows {
            assert_eq!(host_name(host), name, "{host}");
        }
    }

    #[test]
    fn a_path_has_one_spelling() {
        let rows = [
            ("/ws", "/ws"),
            ("/ws?x=/../y", "/ws"),
            ("/ws/", "/ws/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/../../a", "/a"),
            ("//a///b", "/a/b"),
            ("/%61dmin", "/admin"),
            ("/a/%2e%2e/b", "/b"),
            ("/a%2fb", "/a/b"),
            ("/%zz%4", "/%zz%4"),
            ("/%ff", "/\u{fffd}"),
            ("/", "/"),
            ("", ""),
        ];
        for (target, path) in rows {
            assert_eq!(normal_path(target), path, "{target}");
        }
    }
}
