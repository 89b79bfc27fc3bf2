//! Numbers out of a `/metrics` page.

/// A page that Prometheus would read. Whether it is one, `tests/python/admin.py` judges.
pub(crate) struct Scrape(pub(crate) String);

impl Scrape {
    /// Every series of this metric that has these labels, among others maybe.
    pub(crate) fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let has = |line: &str| {
            let set = line.get(name.len()..).and_then(|rest| rest.strip_prefix('{'));
            labels.is_empty()
                || set.is_some_and(|set| {
                    // Behind a brace or a comma, so that no label is found in another's name.
                    let set = format!(",{set}");
                    labels.iter().all(|(label, value)| set.contains(&format!(",{label}=\"{value}\"")))
                })
        };
        let is_named = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let lines = self.0.lines().filter(is_named).filter(|line| has(line));
        lines.map(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect(line)).collect()
    }

    /// Their sum.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::as_conversions,
        reason = "counts of a test are small"
    )]
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.all(name, labels).iter().sum::<f64>() as u64
    }

    /// How many series there are in all.
    pub(crate) fn series(&self) -> usize {
        self.0.lines().filter(|line| !line.starts_with('#')).count()
    }
}
