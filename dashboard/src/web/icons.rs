//! Icons, as SVG in the page.

use std::fmt;

use askama::filters::HtmlSafe;

/// An icon of 16 by 16 pixels in the colour of the text. It has no name for screen readers: words are next to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Icon(&'static str);

impl Icon {
    /// Returns the icon of this name; an unknown one is empty.
    pub(crate) fn named(name: &str) -> Self {
        Self(match name {
            "overview" => "<path d='M2 13.5h12M4 11V7.5M8 11V3M12 11V5.5'/>",
            "events" => "<path d='M2.5 4h11M2.5 8h11M2.5 12h7'/>",
            "destinations" => "<circle cx='8' cy='8' r='5.5'/><circle cx='8' cy='8' r='1.8'/>",
            "audit" => {
                "<path d='M8 1.8 13 4v3.6c0 3-2 5.4-5 6.6-3-1.2-5-3.6-5-6.6V4z'/><path d='m5.8 8 1.6 1.6 2.8-3'/>"
            }
            "administration" => {
                "<circle cx='6' cy='5.5' r='2.5'/><path d='M1.8 13.5c.3-2.6 2-4 4.2-4s3.9 1.4 4.2 4M10.8 3.3a2.5 2.5 0 0 1 \
                 0 4.4M12 9.8c1.3.5 2 1.8 2.2 3.7'/>"
            }
            "system" => "<path d='M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.1M5 11h.1'/>",
            "success" => "<circle cx='8' cy='8' r='5.8'/><path d='m5.6 8.2 1.7 1.7 3.2-3.6'/>",
            "failure" => "<circle cx='8' cy='8' r='5.8'/><path d='m6 6 4 4m0-4-4 4'/>",
            "waiting" => "<circle cx='8' cy='8' r='5.8'/><path d='M8 4.8V8l2.2 1.4'/>",
            "progress" => "<path d='M13.8 8A5.8 5.8 0 1 1 8 2.2'/>",
            "cancelled" => "<circle cx='8' cy='8' r='5.8'/><path d='M5.4 8h5.2'/>",
            "warning" => "<path d='M8 2.2 14.3 13H1.7zM8 6.4v3M8 11.2v.1'/>",
            "replay" => "<path d='M2.6 8a5.4 5.4 0 1 0 1.7-3.9L2.6 5.7M2.6 2.4v3.3h3.3'/>",
            "copy" => "<path d='M5.5 5.5h8v8h-8z'/><path d='M10.5 3V2.5h-8v8H3'/>",
            "close" => "<path d='m4 4 8 8m0-8-8 8'/>",
            "next" => "<path d='m6 3.5 4.5 4.5L6 12.5'/>",
            "back" => "<path d='M10 3.5 5.5 8l4.5 4.5'/>",
            "sign-out" => "<path d='M6.5 2.5h-4v11h4M10 5l3 3-3 3M13 8H6'/>",
            "filter" => "<path d='M2 4h12M4.5 8h7M6.5 12h3'/>",
            "live" => {
                "<circle cx='8' cy='8' r='2'/><path d='M4.2 11.8a5.4 5.4 0 0 1 0-7.6M11.8 4.2a5.4 5.4 0 0 1 0 7.6'/>"
            }
            _ => "",
        })
    }
}

impl fmt::Display for Icon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<svg class=\"icon\" viewBox=\"0 0 16 16\" width=\"16\" height=\"16\" aria-hidden=\"true\">{}</svg>",
            self.0
        )
    }
}

impl HtmlSafe for Icon {}
