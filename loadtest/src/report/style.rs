//! How plots and pages look, light and dark.

/// Colours of plots, and the little else that they need; for a plot on a page and for one that stands alone.
pub(super) const PLOT: &str = include_str!("plot.css");

/// The page around them.
pub(super) const PAGE: &str = include_str!("page.css");
