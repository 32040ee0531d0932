//! A hub that wants fewer requests says so by 429, and for how long by the header `Retry-After`, which `hf-hub` does not hand on:
//! it is asked for by a request of our own.
use std::time::Duration;

use hf_hub::api::sync::ApiError;

/// The longest that one fetch waits in all; the hub counts requests over five minutes.
pub(super) const MOST: Duration = Duration::from_secs(300);
/// After which the answer to our own request is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the hub wants fewer requests.
pub(super) fn is_throttle(error: &ApiError) -> bool {
    matches!(error, ApiError::RequestError(error) if matches!(**error, ureq::Error::StatusCode(429)))
}

/// For how long the hub wants no request for `url`; None when it does not say. At least a second, also when it takes requests
/// again by now.
pub(super) fn retry_after(url: &str, token: Option<&str>) -> Option<Duration> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(PATIENCE));
    let request = ureq::Agent::from(config.build()).head(url);
    let request = match token {
        Some(token) => request.header("Authorization", format!("Bearer {token}")),
        None => request,
    };
    let answer = request.call().ok()?;
    if answer.status().as_u16() != 429 {
        return Some(Duration::from_secs(1));
    }
    let seconds: u64 = answer.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.max(1)))
}
