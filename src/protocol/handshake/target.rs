//! The request target: which forms are read, and how its path is rewritten (RFC 9112 §3.2).

/// A request target in origin-form or absolute-form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'h> {
    /// Host and port, where the target names them.
    pub(super) authority: Option<&'h str>,
    /// Begins with `/`.
    pub(super) path: &'h str,
    /// What stands behind the `?`, if there is one.
    pub(super) query: Option<&'h str>,
}

impl<'h> Target<'h> {
    /// `None` for what is neither form.
    pub(super) fn parse(target: &'h str) -> Option<Self> {
        // RFC 6455 §3: a fragment identifier MUST NOT be used.
        if target.contains('#') {
            return None;
        }
        if target.starts_with('/') {
            return Some(Self::new(None, target));
        }
        // RFC 9112 §3.2.2: a server MUST accept the absolute-form.
        let (scheme, rest) = target.split_once("://")?;
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let is_known = ["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        // RFC 9110 §4.2.4: user information is not to be trusted in a target.
        let is_fit = is_known && !authority.is_empty() && !authority.contains('@');
        is_fit.then(|| Self::new(Some(authority), rest))
    }

    fn new(authority: Option<&'h str>, path_and_query: &'h str) -> Self {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        // RFC 9112 §3.2.1: an empty path MUST be sent as `/`.
        Self { authority, path: if path.is_empty() { "/" } else { path }, query }
    }
}

/// What becomes of a request's path on its way to a backend. The query stays as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathRewrite(Rule);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Rule {
    #[default]
    Keep,
    /// Both without a `/` at the end, so that empty means nothing.
    Prefix {
        strip: String,
        add: String,
    },
    Replace(String),
}

/// A path that cannot stand in a request line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a path: it must begin with / and hold neither ?, # nor spaces")]
pub struct InvalidPath(pub String);

impl PathRewrite {
    /// Takes `strip` off the front where the path begins with it, up to a `/` or its end (`/api` is no prefix of
    /// `/apiary`), then puts `add` before it. Either may be empty.
    ///
    /// # Errors
    /// [`InvalidPath`] for either, unless empty.
    pub fn prefix(strip: &str, add: &str) -> Result<Self, InvalidPath> {
        let fit = |path: &str| match path {
            "" => Ok(String::new()),
            path => check_path(path).map(|path| path.trim_end_matches('/').to_owned()),
        };
        Ok(Self(Rule::Prefix { strip: fit(strip)?, add: fit(add)? }))
    }

    /// Puts `path` in place of whatever path came.
    ///
    /// # Errors
    /// [`InvalidPath`].
    pub fn replace(path: &str) -> Result<Self, InvalidPath> {
        Ok(Self(Rule::Replace(check_path(path)?.to_owned())))
    }

    /// Appends `path` rewritten; what is appended begins with `/`.
    pub(super) fn push(&self, path: &str, out: &mut Vec<u8>) {
        match &self.0 {
            Rule::Keep => out.extend_from_slice(path.as_bytes()),
            Rule::Replace(other) => out.extend_from_slice(other.as_bytes()),
            Rule::Prefix { strip, add } => {
                let rest = path.strip_prefix(strip.as_str());
                let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path);
                out.extend_from_slice(add.as_bytes());
                if !rest.is_empty() || add.is_empty() {
                    out.extend_from_slice(if rest.is_empty() { "/" } else { rest }.as_bytes());
                }
            }
        }
    }
}

fn check_path(path: &str) -> Result<&str, InvalidPath> {
    let is_fit = path.starts_with('/')
        && path.bytes().all(|byte| byte > b' ' && byte < 0x7F && byte != b'?' && byte != b'#');
    if is_fit { Ok(path) } else { Err(InvalidPath(path.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(rewrite: &PathRewrite, path: &str) -> String {
        let mut out = Vec::new();
        rewrite.push(path, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_prefix_is_stripped_and_added_by_whole_segments() {
        let rows = [
            ("/api", "", "/api/chat", "/chat"),
            ("/api/", "", "/api/chat", "/chat"),
            ("/api", "", "/api", "/"),
            ("/api", "", "/api/", "/"),
            ("/api", "", "/apiary", "/apiary"),
            ("/api", "", "/", "/"),
            ("/api", "", "/api//chat", "//chat"),
            ("/api", "", "/%61pi/chat", "/%61pi/chat"),
            ("", "/v1", "/chat", "/v1/chat"),
            ("", "/v1/", "/", "/v1/"),
            ("/api", "/v1", "/api", "/v1"),
            ("/api", "/v1", "/api/chat", "/v1/chat"),
            ("/api", "/v1", "/other", "/v1/other"),
            ("/", "/", "/chat", "/chat"),
            ("", "", "/chat", "/chat"),
        ];
        for (strip, add, path, expected) in rows {
            let rewrite = PathRewrite::prefix(strip, add).unwrap();
            assert_eq!(rewritten(&rewrite, path), expected, "{path} less {strip:?} with {add:?}");
        }
    }

    #[test]
    fn a_path_is_replaced_whole_or_kept() {
        assert_eq!(rewritten(&PathRewrite::replace("/other").unwrap(), "/chat/room"), "/other");
        assert_eq!(rewritten(&PathRewrite::default(), "/a/../b//%2e%2E"), "/a/../b//%2e%2E");
    }

    #[test]
    fn what_would_break_the_request_line_is_no_path() {
        for path in ["chat", "/a b", "/a?b", "/a#b", "/a\r\nX: y", "/caf\u{e9}", "/\0", "http://x/"] {
            assert_eq!(PathRewrite::replace(path), Err(InvalidPath(path.to_owned())));
            assert_eq!(PathRewrite::prefix(path, ""), Err(InvalidPath(path.to_owned())));
            assert_eq!(PathRewrite::prefix("", path), Err(InvalidPath(path.to_owned())));
        }
        assert!(PathRewrite::replace("").is_err());
    }
}
