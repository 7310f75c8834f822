//! Layers as files: an OCI image layer made of an upper directory, and the other way (OCI image specification
//! 1.1, layer.md).

mod args;
mod attributes;
mod new_file;
mod pack;
mod read;
mod tree;
mod unpack;
mod write;

pub use args::Args;

/// What a whiteout's name begins with.
const WHITEOUT: &str = ".wh.";
/// What follows it in the name of the one that hides all that the layers below have in its directory.
const OPAQUE: &str = ".wh..opq";
