//! The edge as its clients and providers see it: the real binary between a raw client and a scripted provider.
//!
//! What is right is taken from the wire formats' documents, never from our own code: no type of the project is used here.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::pedantic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test stops at the first surprise, reads the clock, and shows what it saw"
)]

mod support;

mod edge {
    mod access;
    mod again;
    mod answers;
    mod bodies;
    mod callers;
    mod commands;
    mod connections;
    mod counting;
    mod early;
    mod fallback;
    mod faults;
    mod floods;
    mod framing;
    mod gemini;
    mod harness;
    mod headers;
    mod hedge;
    mod losses;
    mod matrix;
    mod models;
    mod operation;
    mod overload;
    mod packed;
    mod passthrough;
    mod recall;
    mod refusals;
    mod reload;
    mod resilience;
    mod responses;
    mod resumable;
    mod routing;
    mod seam;
    mod services;
    mod shapes;
    mod slow;
    mod stored_gemini;
    mod streams;
    mod ties;
    mod translate;
    mod unusable;
    mod upgrade;
    mod uploads;
    mod vendors;
}
