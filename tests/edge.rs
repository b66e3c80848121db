//! The edge as its clients and providers see it: the real binary between a raw client and a scripted provider.
//!
//! What is right is taken from the wire formats' documents, never from our own code: no type of the project is used here.

mod support;

mod edge {
    mod harness;
}
