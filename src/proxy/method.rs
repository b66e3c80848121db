//! The methods that something here may be asked by.

/// Those methods, as `allow` names them in a 405 in which no path has a say.
pub(super) const SERVED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Methods that make a tunnel or send the request back.
const REFUSED: [&[u8]; 3] = [b"CONNECT", b"TRACE", b"TRACK"];

/// Why a method is served nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unserved {
    /// The status of the answer.
    pub status: u16,
    /// A bounded word for metrics and the log.
    pub label: &'static str,
    /// What the client is told.
    pub message: &'static str,
}

/// Whether something here may be asked by `method`.
#[must_use]
pub fn is_served(method: &[u8]) -> bool {
    matches!(method, b"POST" | b"GET" | b"HEAD" | b"PUT" | b"PATCH" | b"DELETE" | b"OPTIONS")
}

/// Why `method` is served nowhere; `None` where it may be.
#[must_use]
pub fn unserved(method: &[u8]) -> Option<Unserved> {
    if REFUSED.contains(&method) {
        return Some(Unserved { status: 405, label: "method_refused", message: "This method is not served here." });
    }
    let unknown = Unserved { status: 501, label: "method_unknown", message: "This method is not known here." };
    (!is_served(method)).then_some(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_what_clients_are_told() {
        for served in SERVED.split(", ") {
            assert_eq!(unserved(served.as_bytes()), None, "{served}");
        }
        for (method, status) in
            [("CONNECT", 405), ("TRACE", 405), ("TRACK", 405), ("get", 501), ("BREW", 501), ("", 501)]
        {
            assert_eq!(unserved(method.as_bytes()).map(|unserved| unserved.status), Some(status), "{method}");
        }
    }
}
