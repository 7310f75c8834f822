//! What can be known to fail before anything is made, said in words better than EINVAL.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Remedy, Result};
use nix::errno::Errno;

use crate::{
    args::{Changes, Layers},
    overlay::default_work,
};

/// The most lower layers (OVL_MAX_STACK in fs/overlayfs/params.h).
const MOST_LOWER: usize = 500;

/// Checks the layers and the place.
pub(crate) fn all(layers: &Layers, target: &Path) -> Result<()> {
    if layers.lower.len() > MOST_LOWER {
        return Err(Error::new(
            format!("{} lower layers", layers.lower.len()),
            format!("the kernel takes at most {MOST_LOWER}"),
        ));
    }
    let mut lowers = Vec::new();
    for path in &layers.lower {
        lowers.push(Layer::find("lower layer", path)?);
    }
    Layer::find("target", target)?;
    match &layers.changes {
        Changes::ReadOnly | Changes::Tmp => Ok(()),
        Changes::Upper { upper, work } => upper_and_work(&lowers, upper, work.as_deref()),
    }
}

fn upper_and_work(lowers: &[Layer], upper: &Path, work: Option<&Path>) -> Result<()> {
    let upper = Layer::find("upper layer", upper).remedy(Errno::ENOENT, "make it with mkdir")?;
    for lower in lowers {
        apart(&upper, lower)?;
    }
    // Its default is made later, beside UPPER.
    let default = default_work(upper.path);
    let beside = default.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let work = match work {
        Some(work) => Layer::find("work directory", work)?,
        None if default.exists() => Layer::find("work directory", &default)?,
        None => Layer::find("work directory", beside)?.named(&default),
    };
    if work.device != upper.device {
        return Err(Error::new(work.shown(), format!("on another filesystem than {}", upper.shown()))
            .hint("name an empty directory on the same one with -w"));
    }
    apart(&work, &upper)?;
    lowers.iter().try_for_each(|lower| apart(&work, lower))
}

/// Fails if one lies in the other, where changes to one would change the other behind the
/// overlay's back ("Changes to underlying filesystems" in overlayfs.rst).
fn apart(one: &Layer, other: &Layer) -> Result<()> {
    let problem = |inner: &Layer, outer: &Layer| {
        let where_ = if inner.real == outer.real { "the same as" } else { "inside" };
        Err(Error::new(inner.shown(), format!("it is {where_} {}", outer.shown()))
            .hint("layers must lie beside each other"))
    };
    if one.real.starts_with(&other.real) {
        problem(one, other)
    } else if other.real.starts_with(&one.real) {
        problem(other, one)
    } else {
        Ok(())
    }
}

struct Layer<'a> {
    role: &'static str,
    path: &'a Path,
    real: PathBuf,
    device: u64,
}

impl<'a> Layer<'a> {
    fn find(role: &'static str, path: &'a Path) -> Result<Self> {
        let doing = || format!("{role} {}", path.display());
        let real = fs::canonicalize(path).doing(doing)?;
        let found = fs::metadata(&real).doing(doing)?;
        if !found.is_dir() {
            return Err(Error::os(doing(), Errno::ENOTDIR));
        }
        Ok(Self { role, path, real, device: found.dev() })
    }

    /// A directory that will be made in this one.
    fn named(self, path: &'a Path) -> Self {
        let name = path.file_name().unwrap_or_default();
        Self { path, real: self.real.join(name), ..self }
    }

    fn shown(&self) -> String {
        format!("{} {}", self.role, self.path.display())
    }
}
