//! One line of the proxy's JSON log.

/// A flat JSON object, as `--log-format json` writes it.
#[derive(Debug, Clone)]
pub(crate) struct Line(pub(crate) String);

impl Line {
    /// The field's value as it stands in the line.
    fn raw(&self, field: &str) -> Option<&str> {
        let (_, rest) = self.0.split_once(&format!("\"{field}\":"))?;
        if let Some(string) = rest.strip_prefix('"') {
            let mut is_escaped = false;
            let end = string.find(|at: char| {
                let is_end = at == '"' && !is_escaped;
                is_escaped = at == '\\' && !is_escaped;
                is_end
            })?;
            return string.get(..end);
        }
        rest.split([',', '}']).next()
    }

    /// A field that must be there: the characters of a string, the digits of a number, `true` or `false`.
    pub(crate) fn get(&self, field: &str) -> String {
        let value = self.raw(field).unwrap_or_else(|| unreachable!("{field} in {}", self.0));
        value.replace("\\\"", "\"").replace("\\\\", "\\")
    }

    /// A field that must be there and a number.
    pub(crate) fn number(&self, field: &str) -> u64 {
        self.get(field).parse().unwrap_or_else(|_| unreachable!("{field} is a number in {}", self.0))
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.raw(field).is_some()
    }

    pub(crate) fn is(&self, message: &str) -> bool {
        self.raw("message") == Some(message)
    }

    pub(crate) fn begins(&self, message: &str) -> bool {
        self.raw("message").is_some_and(|found| found.starts_with(message))
    }

    /// What a session line says of its end: by whom, why, with which code.
    pub(crate) fn end(&self) -> (String, String, Option<u16>) {
        let code = self.has("code").then(|| self.number("code").try_into().expect("a close code"));
        (self.get("ended_by"), self.get("why"), code)
    }
}
