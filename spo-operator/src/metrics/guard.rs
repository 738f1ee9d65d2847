//! Who may read metrics: the API server says who a token belongs to (TokenReview), and whether he may `get` the path
//! (SubjectAccessReview). No proxy stands in front.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::timeout};

/// How long an answer counts.
const LIFETIME: Duration = Duration::from_secs(10);

/// How many answers are kept. Who sends many tokens makes us ask for each, which [`QUESTIONS`] bounds.
const ANSWERS: usize = 64;

/// How many questions are under way at once.
const QUESTIONS: usize = 4;

/// How long one reader waits for all of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest token that is asked about, in bytes.
const TOKEN: usize = 16 << 10;

/// The answer about a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// He may.
    Allowed,
    /// He has not said who he is, or nobody knows him.
    Unknown(String),
    /// He may not.
    Forbidden(String),
    /// It cannot be told now.
    Unavailable(String),
}

/// Asks the API server, and remembers its answers for a moment.
pub struct Guard {
    client: Client,
    answers: Mutex<Answers>,
    questions: Semaphore,
}

impl Guard {
    /// A guard who asks with this client.
    pub fn new(client: Client) -> Self {
        Self { client, answers: Mutex::default(), questions: Semaphore::new(QUESTIONS) }
    }

    /// Whether the reader with this header `Authorization` may `get` a path.
    pub async fn ask(&self, authorization: Option<&str>, path: &str) -> Answer {
        let token = match token(authorization) {
            Ok(token) => token,
            Err(reason) => return Answer::Unknown(reason.to_owned()),
        };
        let question = question(token, path);
        let remembered = || {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.get(&question, Instant::now())
        };
        if let Some(answer) = remembered() {
            return answer;
        }
        let asked = async {
            let _place = self.questions.acquire().await;
            // Somebody else may have asked the same meanwhile.
            if let Some(answer) = remembered() {
                return answer;
            }
            let answer = review(&self.client, token, path).await;
            if !matches!(answer, Answer::Unavailable(_)) {
                let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
                answers.put(question, answer.clone(), Instant::now());
            }
            answer
        };
        let late = |_| Answer::Unavailable("the API server does not answer in time".to_owned());
        timeout(PATIENCE, asked).await.unwrap_or_else(late)
    }
}

/// The answers of the last moment, by hash: tokens are not kept.
#[derive(Debug, Default)]
struct Answers(HashMap<[u8; 32], (Instant, Answer)>);

impl Answers {
    fn get(&mut self, question: &[u8; 32], now: Instant) -> Option<Answer> {
        let (since, answer) = self.0.get(question)?;
        (now.saturating_duration_since(*since) < LIFETIME).then(|| answer.clone())
    }

    fn put(&mut self, question: [u8; 32], answer: Answer, now: Instant) {
        self.0.retain(|_, (since, _)| now.saturating_duration_since(*since) < LIFETIME);
        if self.0.len() >= ANSWERS
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (since, _))| *since).map(|(key, _)| *key)
        {
            self.0.remove(&oldest);
        }
        self.0.insert(question, (now, answer));
    }
}

fn question(token: &str, path: &str) -> [u8; 32] {
    // Neither can hold a NUL.
    Sha256::digest(format!("{path}\0{token}").as_bytes()).into()
}

fn token(authorization: Option<&str>) -> Result<&str, &'static str> {
    const WANT: &str = "want the header `Authorization: Bearer TOKEN` with the token of a service account";
    let (scheme, token) = authorization.and_then(|text| text.split_once(' ')).ok_or(WANT)?;
    let token = token.trim();
    match scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() {
        true if token.len() > TOKEN => Err("the token is too long"),
        true => Ok(token),
        false => Err(WANT),
    }
}

async fn review(client: &Client, token: &str, path: &str) -> Answer {
    let parameters = PostParams::default();
    let who = TokenReview {
        spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
        ..TokenReview::default()
    };
    let unavailable = |error: kube::Error| {
        tracing::warn!(%error, "the API server cannot be asked about a reader of metrics");
        Answer::Unavailable("the API server cannot be asked".to_owned())
    };
    let status = match Api::<TokenReview>::all(client.clone()).create(&parameters, &who).await {
        Ok(review) => review.status.unwrap_or_default(),
        Err(error) => return unavailable(error),
    };
    let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
        return Answer::Unknown("the token is not valid".to_owned());
    };
    let name = user.username.clone().unwrap_or_default();
    let may = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(path.to_owned()),
                verb: Some("get".to_owned()),
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    match Api::<SubjectAccessReview>::all(client.clone()).create(&parameters, &may).await {
        Ok(review) if review.status.as_ref().is_some_and(|status| status.allowed) => Answer::Allowed,
        Ok(_) => Answer::Forbidden(format!("{name} may not get the path {path}")),
        Err(error) => unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_named_as_the_standard_has_it() {
        assert_eq!(token(Some("Bearer abc")), Ok("abc"));
        assert_eq!(token(Some("bearer  abc ")), Ok("abc"));
        for wrong in [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Basic YTpi"), Some("abc")] {
            assert!(token(wrong).is_err(), "{wrong:?}");
        }
        assert!(token(Some(&format!("Bearer {}", "x".repeat(TOKEN + 1)))).is_err());
    }

    #[test]
    fn answers_count_for_a_moment_and_are_not_many() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        let first = question("a", "/metrics");
        answers.put(first, Answer::Allowed, start);
        assert_eq!(answers.get(&first, start + LIFETIME / 2), Some(Answer::Allowed));
        assert_eq!(answers.get(&first, start + LIFETIME), None, "a right that is taken away ends soon");
        assert_eq!(
            answers.get(&question("a", "/metrics-spod"), start),
            None,
            "another path is another question"
        );
        for i in 0..10 * ANSWERS {
            answers.put(question(&i.to_string(), "/"), Answer::Unknown(String::new()), start);
            assert!(answers.0.len() <= ANSWERS);
        }
    }
}
