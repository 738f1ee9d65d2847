//! Requests that end.

use std::{future::Future, time::Duration};

use tokio::time::timeout;

/// How long one request may take; an API server that hangs must not hold a controller for ever.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The answer to a request, or that there was none within [`LIMIT`]. Not for watches, which last.
///
/// # Errors
/// That of the request, or [`kube::Error::Service`] if time is over.
pub async fn within<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    before(LIMIT, request).await
}

async fn before<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    match timeout(limit, request).await {
        Ok(answer) => answer,
        Err(_) => Err(kube::Error::Service(format!("no answer within {} seconds", limit.as_secs()).into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_without_an_answer_ends() {
        let silent = before(Duration::ZERO, std::future::pending::<Result<(), kube::Error>>()).await;
        assert!(silent.is_err_and(|error| error.to_string().contains("no answer")));
        assert_eq!(within(async { Ok(1) }).await.ok(), Some(1));
    }
}
