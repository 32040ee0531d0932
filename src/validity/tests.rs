//! The certificate against records with one fault each.
