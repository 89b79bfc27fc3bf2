//! The families of dispatches.

use std::fmt;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Families, encode_histogram};
use crate::telemetry::{DispatchOverview, Overview};

impl Families<'_> {
    pub(super) fn dispatches(&mut self, overview: &Overview) -> fmt::Result {
        let dispatches =
            || overview.dispatches.iter().map(|dispatch| ([("dispatch", dispatch.name.as_str())], dispatch));
        type Total = fn(&DispatchOverview) -> u64;
        let totals: [(&str, &str, Total); 8] = [
            ("dispatch_sent", "Messages that backends got: one for all of three is three.", |of| of.sent),
            ("dispatch_replies", "Replies that answered a message.", |of| of.replies),
            ("dispatch_retries", "Messages that were sent anew, their backend lost.", |of| of.retries),
            ("dispatch_timeouts", "Messages without a reply in time.", |of| of.timeouts),
            ("dispatch_lost", "Messages without a reply that were lost with their backend.", |of| of.lost),
            ("dispatch_late", "Replies that nobody waited for any more.", |of| of.late),
            ("dispatch_surplus", "Replies that were not wanted: others were enough.", |of| of.surplus),
            ("dispatch_partial", "Answers made of fewer replies than were asked for.", |of| of.partial),
        ];
        for (name, help, total) in totals {
            self.counters(name, help, None, dispatches().map(|(label, dispatch)| (label, total(dispatch))))?;
        }
        let outstanding = dispatches().map(|(label, dispatch)| (label, dispatch.outstanding));
        self.gauges("dispatch_outstanding", "Messages that wait for a reply.", None, outstanding)?;
        let depth = dispatches().map(|(label, dispatch)| (label, dispatch.reordering));
        self.gauges("dispatch_reorder_depth", "Replies that wait for those before them.", None, depth)?;
        let bytes = dispatches().map(|(label, dispatch)| (label, dispatch.reordering_bytes));
        self.gauges("dispatch_reorder", "Their bytes.", Some(&Unit::Bytes), bytes)?;
        let help = "From the end of a message to the end of its reply.";
        let seconds = Some(&Unit::Seconds);
        let mut family = self.0.encode_descriptor("dispatch_reply", help, seconds, MetricType::Histogram)?;
        for (label, dispatch) in dispatches() {
            for backend in &dispatch.backends {
                let names = [("backend", backend.name.as_str()), ("address", backend.address.as_str())];
                encode_histogram(family.encode_family(&(label, names))?, &backend.reply_seconds)?;
            }
        }
        Ok(())
    }
}
