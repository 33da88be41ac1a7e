//! The dashboard's place in the service: its limits, and what it learns of the installation.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use hmac::{Hmac, KeyInit, Mac};
use hooksentry_dashboard::{DashboardSettings, SignUp};
use secrecy::SecretSlice;
use sha2::Sha256;

use crate::api::http::request_context::{REQUEST_ID, RequestContext};
use crate::api::http::{admission, layers};
use crate::api::state::{ApiDependencies, AppState};
use crate::api::{REQUEST_TIME_MAX, ROUTES};
use crate::config::Registration;
use crate::secrets::signing_keys::SigningKeys;

/// Purpose in the key derivation. Changing it invalidates every open form.
const PURPOSE: &[u8] = b"hooksentry dashboard v1";

/// The dashboard, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Dashboard(DashboardSettings);

impl ApiDependencies {
    /// Returns the dashboard; `None`: it is switched off.
    pub(super) fn dashboard(&self) -> Option<Dashboard> {
        let mut api_segments: Vec<String> =
            ROUTES.iter().filter_map(|route| route.path.split('/').nth(1).map(str::to_owned)).collect();
        api_segments.dedup();
        let sign_up = match self.settings.tenants.registration {
            Registration::Open => SignUp::Open,
            Registration::Invitation => SignUp::Invitation,
            Registration::Closed => SignUp::Closed,
        };
        let form_keys = form_keys(&self.signing_keys);
        let links = self.sign_in_links.clone();
        let settings =
            DashboardSettings { api_segments, sign_up, form_keys, links, tasks: self.tasks.clone() };
        self.settings.dashboard.then_some(Dashboard(settings))
    }
}

impl Dashboard {
    /// Adds the dashboard to the router of the API.
    pub(super) fn add_to(self, api: Router, state: &AppState) -> Router {
        let admission = state.places.of_dashboard(REQUEST_TIME_MAX);
        let context_source = state.context_source.clone();
        hooksentry_dashboard::router(api, self.0, |pages| {
            pages
                .layer(from_fn(name_request))
                .layer(from_fn_with_state(Arc::new(admission), admission::admit))
                .layer(from_fn_with_state(context_source, layers::with_context))
        })
    }
}

/// Gives the requests to the API that a page makes the id of the page's own.
async fn name_request(mut request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestContext>().and_then(RequestContext::header);
    if let Some(id) = id {
        request.headers_mut().insert(REQUEST_ID, id);
    }
    next.run(request).await
}

fn form_keys(signing_keys: &SigningKeys) -> Vec<SecretSlice<u8>> {
    let derive = |key: &[u8]| {
        let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.chain_update(PURPOSE).finalize().into_bytes().to_vec().into()
    };
    signing_keys.iter().map(|key| derive(key.expose_bytes())).collect()
}
