//! The state of the installation.

use super::browser::Browser;
use crate::harness::api::Api;
use crate::harness::tenant::User;

#[tokio::test]
async fn those_who_administer_are_offered_the_state_of_the_installation() {
    let owner = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&owner).await;
    let page = browser.get("/system").await.expect(200);
    page.has("<td>Webhook events</td>").has("Unaccounted events").has("href=\"/system\"");
    let mut viewer = Browser::of(&owner.colleague("Viewer").await).await;
    viewer.get("/events").await.expect(200).lacks("href=\"/system\"").lacks("<dd>System</dd>");
}
