//! Forms that pages send.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use secrecy::SecretString;
use tokio::time::timeout;

use super::error::PageError;
use super::query::Parameters;
use crate::App;
use crate::session::Visitor;

/// Name of the field with the form's token.
const TOKEN: &str = "form_token";
/// Largest form, in bytes. A mapping and a payload to try it with fit.
const FORM_BYTES_MAX: usize = 2 << 20;
/// Time within which a form must arrive.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(20);

/// Fields of a form that one of our pages sent.
#[derive(Clone, Debug)]
pub(crate) struct Form(Parameters);

impl Form {
    /// Returns a field without the spaces around it; empty if it is missing.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_default().trim()
    }

    /// Returns a field; `None` if it is empty.
    pub(crate) fn optional(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// Returns a field with the spaces around it; empty if it is missing.
    pub(crate) fn raw(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_default()
    }

    /// Returns a field as it was typed, such as a password.
    pub(crate) fn secret(&self, name: &str) -> SecretString {
        self.0.get(name).unwrap_or_default().into()
    }
}

impl FromRequest<App> for Form {
    type Rejection = PageError;

    async fn from_request(request: Request, app: &App) -> Result<Self, PageError> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, app).await?;
        let media_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !media_type.is_some_and(|text| text.starts_with("application/x-www-form-urlencoded")) {
            return Err(PageError::ForeignForm);
        }
        let body = timeout(ARRIVAL_TIME_MAX, to_bytes(body, FORM_BYTES_MAX)).await;
        let body = body.map_err(|_| PageError::SlowForm)?.map_err(|_| PageError::LargeForm)?;
        let fields = Parameters::parse(&body);
        if !app.sessions.form_keys.accept(&visitor, fields.get(TOKEN).unwrap_or_default()) {
            return Err(PageError::ForeignForm);
        }
        Ok(Self(fields))
    }
}
