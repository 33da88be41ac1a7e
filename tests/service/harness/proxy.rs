//! Broken networks between the program and its servers.

use std::path::PathBuf;

use fault_proxy::{FaultProxy, Target};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// A proxy to a server, and the URL of the server through it.
pub(crate) struct Proxied {
    pub(crate) proxy: FaultProxy,
    pub(crate) url: String,
}

/// Puts a proxy in front of the database or broker at `url`.
pub(crate) async fn proxied(url: &str) -> Proxied {
    let mut url: Url = url.parse().expect("a URL");
    let proxy = FaultProxy::start(target(&url)).await.expect("a proxy");
    url.set_host(Some("127.0.0.1")).expect("a URL with a host");
    url.set_port(Some(proxy.address().port())).expect("a URL with a port");
    Proxied { proxy, url: url.into() }
}

/// Returns the server of a URL. The host of a database may be the folder of its socket.
fn target(url: &Url) -> Target {
    match url.host().expect("a URL with a host") {
        Host::Domain(folder) if folder.starts_with('%') => {
            let folder = percent_decode_str(folder).decode_utf8().expect("the name of a folder");
            Target::Unix(PathBuf::from(&*folder).join(".s.PGSQL.5432"))
        }
        _ => {
            let addresses = url.socket_addrs(|| None).expect("the address of a server");
            Target::Tcp(*addresses.first().expect("an address"))
        }
    }
}
