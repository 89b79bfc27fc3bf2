//! What the backends of one pool share: how they are judged, and how many of them may be ejected at once.

use super::{Percent, Probe, Settings};

/// The settings of a pool, and the places that its ejected backends take.
#[derive(Debug, Clone)]
pub struct Pool {
    settings: Settings,
    backends: usize,
    ejected: usize,
}

impl Pool {
    /// A pool that nobody has [joined](super::Health::join) yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, backends: 0, ejected: 0 }
    }

    /// How its backends are judged.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Judges by new settings from now on. Each backend wants to [hear of it](super::Health::handle_settings).
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// What to ask a backend whose probe is due: what is configured, or else a TCP connection.
    #[must_use]
    pub fn probe(&self) -> &Probe {
        self.settings.probe.as_ref().unwrap_or(&Probe::Tcp)
    }

    /// Backends that have joined and not left.
    #[must_use]
    pub fn backends(&self) -> usize {
        self.backends
    }

    /// Backends that are ejected now.
    #[must_use]
    pub fn ejected(&self) -> usize {
        self.ejected
    }

    /// Backends that may be ejected at once.
    #[must_use]
    pub fn ejected_max(&self) -> usize {
        let share = self.settings.outlier.ejected_share_max;
        if share == Percent::ZERO { 0 } else { share.of(self.backends).max(1) }
    }

    pub(super) fn add(&mut self) {
        self.backends += 1;
    }

    pub(super) fn remove(&mut self) {
        self.backends = self.backends.saturating_sub(1);
    }

    /// A place for one more ejected backend, if there is one.
    pub(super) fn take_place(&mut self) -> bool {
        let has_place = self.ejected < self.ejected_max();
        self.ejected += usize::from(has_place);
        has_place
    }

    pub(super) fn give_place_back(&mut self) {
        self.ejected = self.ejected.saturating_sub(1);
    }
}

/// Whether a pool with `up` of `total` backends up disregards their health. One with none up always does; an empty one
/// has nobody to try.
#[must_use]
pub fn is_panicking(up: usize, total: usize, settings: &Settings) -> bool {
    total > 0 && (up == 0 || settings.panic_below.exceeds(up, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_panics_below_its_share_and_with_nobody_up() {
        let rows = [
            // percent, up, total, panics
            (0, 0, 3, true),
            (0, 1, 100, false),
            (50, 1, 2, false),
            (50, 1, 3, true),
            (50, 2, 3, false),
            (100, 2, 3, true),
            (100, 3, 3, false),
            (100, 0, 0, false),
        ];
        for (percent, up, total, panics) in rows {
            let settings = Settings { panic_below: Percent::new(percent).unwrap(), ..Settings::default() };
            assert_eq!(is_panicking(up, total, &settings), panics, "{up} of {total}, {percent} %");
        }
    }

    #[test]
    fn at_least_one_backend_may_be_ejected_unless_none_may() {
        let rows = [(0, 10, 0), (10, 1, 1), (10, 19, 1), (10, 20, 2), (50, 3, 1), (100, 3, 3)];
        for (percent, backends, places) in rows {
            let mut settings = Settings::default();
            settings.outlier.ejected_share_max = Percent::new(percent).unwrap();
            let mut pool = Pool::new(settings);
            (0..backends).for_each(|_| pool.add());
            assert_eq!((0..backends).filter(|_| pool.take_place()).count(), places);
        }
    }
}
