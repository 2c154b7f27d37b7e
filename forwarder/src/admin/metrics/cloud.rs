//! Metrics of what moves by calls of a cloud's API.

use super::Sample;
use super::catalogue as metric;
use super::exposition::Page;
use crate::io::cloud::Rehearsed;

/// Without a cloud there are no samples of these.
pub fn cloud(page: &mut Page, sample: &Sample) {
    let counts = sample.cloud.as_ref();
    let mut family = page.family(&metric::CLOUD_CALLS);
    for ((action, result), count) in counts.into_iter().flat_map(|counts| &counts.calls) {
        family.sample([action, result], *count);
    }
    let mut family = page.family(&metric::CLOUD_REHEARSALS);
    for result in Rehearsed::ALL {
        if let Some(counts) = counts {
            let count = counts.rehearsed.get(&result).copied().unwrap_or(0);
            family.sample([result.word()], count);
        }
    }
    let mut family = page.family(&metric::CLOUD_REFUSED_CALLS);
    for (group, count) in counts.into_iter().flat_map(|counts| &counts.refused) {
        family.sample([group], *count);
    }
}
