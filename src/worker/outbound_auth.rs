//! Conversion of a destination's credentials into the header that is sent with an attempt.

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::{DestinationId, TenantId};
use aggregates::outbound_credentials::{OutboundCredentials, TokenRequest, is_reserved_header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;
use super::outbound_client::OutboundClient;
use super::response::{BODY_BYTES_READ_MAX, BodyEnd, read_body};
use super::token_cache::{Token, TokenKey};

/// Header to send, with the token it contains, if any.
#[derive(Debug)]
pub(super) enum Authorization {
    /// A constant header.
    Fixed(HeaderName, HeaderValue),
    /// A token that can be fetched again when it is refused.
    Token(TokenKey, Token),
}

impl Authorization {
    /// Returns the header, whose value is marked sensitive.
    pub(super) fn header(&self) -> (HeaderName, HeaderValue) {
        match self {
            Self::Fixed(name, value) => (name.clone(), value.clone()),
            Self::Token(_, token) => (AUTHORIZATION, token.authorization.clone()),
        }
    }
}

impl OutboundClient {
    /// Returns the header for credentials, after fetching a token where they have a token endpoint.
    ///
    /// # Errors
    /// When the credentials cannot be sent in a header, or no token is issued before the deadline.
    pub(super) async fn authorization(
        &self,
        (tenant_id, destination_id): (TenantId, DestinationId),
        credentials: &OutboundCredentials,
        deadline: Instant,
    ) -> Result<Authorization, Failure> {
        let (name, value) = match credentials {
            OutboundCredentials::ApiKey { header_name, value } => {
                let name =
                    HeaderName::from_bytes(header_name.as_bytes()).map_err(|_| unusable("headerName"))?;
                if is_reserved_header(name.as_str()) {
                    return Err(unusable("headerName"));
                }
                (name, sensitive(value.expose_secret()).ok_or_else(|| unusable("value"))?)
            }
            OutboundCredentials::BearerToken { token } => {
                let value = format!("Bearer {}", token.expose_secret());
                (AUTHORIZATION, sensitive(&value).ok_or_else(|| unusable("token"))?)
            }
            OutboundCredentials::BasicAuth { username, password } => {
                let pair = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
                (AUTHORIZATION, sensitive(&format!("Basic {pair}")).ok_or_else(|| unusable("password"))?)
            }
            OutboundCredentials::JwtBearer(request) => {
                let key = TokenKey::new(destination_id, credentials);
                let token = self.tokens.get(&key, self.fetch_token(tenant_id, request, deadline));
                let token = timeout_at(deadline, token)
                    .await
                    .map_err(|_| token_failure(Failure::timeout(self.timeout)))??;
                return Ok(Authorization::Token(key, token));
            }
        };
        Ok(Authorization::Fixed(name, value))
    }

    async fn fetch_token(
        &self,
        tenant_id: TenantId,
        wanted: &TokenRequest,
        deadline: Instant,
    ) -> Result<Token, Failure> {
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", wanted.client_id.as_str()),
            ("client_secret", wanted.client_secret.expose_secret()),
        ];
        form.extend(wanted.scope.as_deref().map(|scope| ("scope", scope)));
        let request = self
            .http
            .request(Method::POST, wanted.token_endpoint.url().clone())
            .header(ACCEPT, "application/json")
            .form(&form)
            .build()
            .map_err(|error| token_failure(error.into()))?;
        let mut response = self.send(tenant_id, request, deadline).await.map_err(token_failure)?;
        let status = response.status();
        let address = self.remote_address(&response);
        let fail =
            |detail: String| Err(token_failure(Failure::new(Outcome::TokenEndpoint, detail).at(address)));

        let (body, end) = read_body(&mut response, BODY_BYTES_READ_MAX, deadline).await;
        if !status.is_success() {
            return fail(format!("status {}{}", status.as_u16(), error_code(&body)));
        }
        match end {
            BodyEnd::Whole => {}
            BodyEnd::TooLong => return fail("the answer is too long".to_owned()),
            BodyEnd::Late => return fail("the answer did not end in time".to_owned()),
            BodyEnd::Broken => return fail("the answer was cut off".to_owned()),
        }
        let Ok(answer) = serde_json::from_slice::<TokenAnswer>(&body) else {
            return fail("the answer holds no access_token".to_owned());
        };
        match sensitive(&format!("Bearer {}", answer.access_token)) {
            Some(value) => Ok(Token::new(value, answer.expires_in.and_then(Seconds::whole))),
            None => fail("the access_token cannot be sent in a header".to_owned()),
        }
    }
}

/// Response of a token endpoint (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<Seconds>,
}

/// Number of seconds: a number by the standard, a string from some endpoints; anything else is ignored.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
    Other(serde::de::IgnoredAny),
}

impl Seconds {
    fn whole(self) -> Option<u64> {
        match self {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
            Self::Number(seconds) => Some(seconds as u64),
            Self::Text(seconds) => seconds.parse().ok(),
            Self::Other(_) => None,
        }
    }
}

/// Returns the error code of RFC 6749, section 5.2, such as ` (invalid_client)`. The rest of the response is
/// dropped: it may quote the secret.
fn error_code(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(Refusal { error })
            if error.len() <= 40 && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') =>
        {
            format!(" ({error})")
        }
        _ => String::new(),
    }
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn unusable(field: &str) -> Failure {
    Failure::new(
        Outcome::Credentials,
        format!("the credentials cannot be sent: {field} does not fit in a header"),
    )
}

fn token_failure(failure: Failure) -> Failure {
    let outcome = match failure.outcome {
        Outcome::NotSent => Outcome::NotSent,
        _ => Outcome::TokenEndpoint,
    };
    Failure { outcome, detail: format!("token endpoint: {}", failure.detail), ..failure }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lifetime(answer: &str) -> Option<u64> {
        let answer: TokenAnswer = serde_json::from_str(answer).unwrap();
        answer.expires_in.and_then(Seconds::whole)
    }

    #[test]
    fn the_lifetime_of_a_token_is_read_in_every_form_that_endpoints_use() {
        for (answer, seconds) in [
            (r#"{"access_token":"t"}"#, None),
            (r#"{"access_token":"t","expires_in":3600}"#, Some(3_600)),
            (r#"{"access_token":"t","expires_in":"3600"}"#, Some(3_600)),
            (r#"{"access_token":"t","expires_in":3599.9}"#, Some(3_599)),
            (r#"{"access_token":"t","expires_in":-1}"#, Some(0)),
            (r#"{"access_token":"t","expires_in":1e300}"#, Some(u64::MAX)),
            (r#"{"access_token":"t","expires_in":"soon"}"#, None),
            (r#"{"access_token":"t","expires_in":[3600]}"#, None),
            (r#"{"access_token":"t","expires_in":null}"#, None),
        ] {
            assert_eq!(lifetime(answer), seconds, "{answer}");
        }
    }

    proptest! {
        /// Only a code of the standard is repeated: the rest may quote the secret.
        #[test]
        fn foreign_bytes_as_an_answer_of_a_token_endpoint(
            body in prop::collection::vec(any::<u8>(), 0..200),
            error in ".{0,60}|[a-z_]{0,60}",
            number in any::<f64>(),
        ) {
            let _: Result<TokenAnswer, _> = serde_json::from_slice(&body);
            prop_assert_eq!(error_code(&body), "");
            Seconds::Number(number).whole();
            let code = error_code(serde_json::json!({ "error": error }).to_string().as_bytes());
            let repeated = format!(" ({error})");
            prop_assert!(code.is_empty() || code == repeated);
            prop_assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || b" ()_".contains(&byte)));
        }
    }
}
