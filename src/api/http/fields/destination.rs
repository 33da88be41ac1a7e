//! Fields of destinations.

use aggregates::destination_url::{DestinationUrl, URL_LENGTH_MAX};
use aggregates::target_rules::TargetRules;

use super::text::any_text;
use super::{field, in_any_case, string};

field! {
    /// URL of a destination.
    DestinationUrlText: DestinationUrl {
        schema: string(Some(URL_LENGTH_MAX))
            .pattern(Some(r"^[Hh][Tt][Tt][Pp][Ss]://[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9][A-Za-z0-9-]*)*\.[A-Za-z]{2,}(:[0-9]{0,4})?([/?#][^\s\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\ufeff]*)?$"))
            .description(Some("An absolute https URL. Its host must be neither a private address nor localhost nor this API, and its port one that the installation allows."))
            .examples(["https://my-server.com/webhook"]),
        parse: |value, rules: TargetRules| {
            DestinationUrl::parse(any_text(value)?, rules).map_err(|problem| problem.to_string())
        },
    }
    /// Whether a destination is to be active. Only its circuit breaker suspends one.
    DestinationStatusGiven: bool {
        schema: string(None)
            .pattern(Some(in_any_case(["Active", "Inactive"].map(str::to_owned))))
            .description(Some("`active` or `inactive`, in any case."))
            .examples(["active"]),
        parse: |value| match any_text(value)?.to_ascii_lowercase().as_str() {
            "active" => Ok(true),
            "inactive" => Ok(false),
            _ => Err("must be active or inactive".to_owned()),
        },
    }
}
