//! What the command line of `ovl-layer` says.

use std::{
    fs,
    fs::File,
    io::{self, BufWriter, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Job, Result, Size, Tool};
use clap::Parser;

use super::{
    new_file::NewFile,
    pack::pack,
    unpack::{Bounds, unpack},
    write::{Form, Stream},
};
use crate::{
    changes::{Prefix, upper},
    check,
};

/// Write the changes in an upper directory as an OCI image layer, or unpack a layer as a lower directory
#[derive(Debug, Parser)]
#[command(
    name = "ovl-layer",
    version,
    override_usage = "ovl-layer [OPTIONS] UPPER -o FILE
       ovl-layer [OPTIONS] -x FILE DIR"
)]
#[command(after_help = "\
FILE is compressed as its name ends: .tar, .tar.gz, .tgz, .tar.zst; - is stdout or stdin.
Example: ovl-layer upper -o layer.tar.zst; ovl-layer -x layer.tar.zst lower")]
pub struct Args {
    /// Write the layer to this file
    #[arg(short, long, value_name = "FILE", required_unless_present = "extract", conflicts_with = "extract")]
    output: Option<PathBuf>,
    /// Unpack this layer to a new directory
    #[arg(short = 'x', long, value_name = "FILE")]
    extract: Option<PathBuf>,
    /// Let no file be younger than this, in seconds since 1970, so that a layer can be made again
    #[arg(long, value_name = "SECONDS", conflicts_with = "extract", value_parser = seconds)]
    clamp_mtime: Option<i64>,
    /// The most that the files of a layer may take together
    #[arg(long, value_name = "SIZE", default_value = "16G", conflicts_with = "output")]
    max_size: Size,
    /// The most files, directories and others in a layer
    #[arg(long, value_name = "N", default_value_t = 1_000_000, conflicts_with = "output", value_parser = number)]
    max_entries: u64,
    /// Unpack device nodes too
    #[arg(long, conflicts_with = "output")]
    devices: bool,
    /// The upper directory is that of a mount with userxattr, as ordinary users have
    #[arg(long, conflicts_with = "extract")]
    userxattr: bool,
    /// Tell in words what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// The directory with the changes, or the new one
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

fn seconds(text: &str) -> Result<i64, &'static str> {
    text.parse().map_err(|_| "not a time; write whole seconds since 1970, such as 1700000000")
}

fn number(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "not a number of files; write a whole one, such as 1000000")
}

impl Tool for Args {
    fn job(self) -> Result<Job> {
        Ok(Job::Do(Box::new(move || match (&self.extract, &self.output) {
            (Some(file), _) => self.unpack(file),
            (None, Some(file)) => self.pack(file),
            (None, None) => Ok(()),
        })))
    }
}

impl Args {
    fn unpack(&self, name: &Path) -> Result<()> {
        let bounds = Bounds { size: self.max_size, entries: self.max_entries, devices: self.devices };
        let shown = name.display().to_string();
        let file = if name == Path::new("-") {
            io::stdin().as_fd().try_clone_to_owned().map(File::from).doing(|| "open stdin".into())?
        } else {
            File::open(name).doing(|| shown.clone())?
        };
        if self.dry_run {
            let dir = self.dir.display();
            let devices = if self.devices { "" } else { ", no devices" };
            let (size, entries) = (self.max_size, self.max_entries);
            return chain::print(&format!(
                "unpack {shown} as {dir}, at most {size} in {entries} entries{devices}\n"
            ))
            .map(drop);
        }
        unpack(file, &shown, &self.dir, bounds)
    }

    fn pack(&self, name: &Path) -> Result<()> {
        check::directory("upper layer", &self.dir)?;
        let form = Form::of(name)?;
        self.refuse_within(name)?;
        let (upper, prefix) = upper(&self.dir, "upper layer", self.userxattr)?;
        if self.dry_run {
            let (dir, name) = (self.dir.display(), name.display());
            return chain::print(&format!("write the changes in {dir} to {name}, {form}\n")).map(drop);
        }
        let writing = || format!("write {}", name.display());
        if name == Path::new("-") {
            return self.pack_to((&upper, prefix), form, io::stdout().lock(), writing);
        }
        let file = NewFile::beside(name).doing(writing)?;
        self.pack_to((&upper, prefix), form, &file.file, writing)?;
        file.put().doing(writing)
    }

    /// Fails if the layer would lie in the directory that it is made of, and be packed itself.
    fn refuse_within(&self, name: &Path) -> Result<()> {
        let above = if name == Path::new("-") {
            // Where a shell has sent stdout; a pipe or a terminal has no such place.
            fs::canonicalize("/proc/self/fd/1").map(|file| file.parent().map(Path::to_path_buf))
        } else {
            let above = name.parent().filter(|above| !above.as_os_str().is_empty());
            fs::canonicalize(above.unwrap_or(Path::new("."))).map(Some)
        };
        // By what is there and not by name: the upper directory may be mounted elsewhere too.
        let identity = |dir: &Path| fs::metadata(dir).ok().map(|found| (found.dev(), found.ino()));
        let own = identity(&self.dir);
        if above.ok().flatten().is_some_and(|above| above.ancestors().any(|dir| identity(dir) == own)) {
            let why = format!("it is in {}, which the layer is made of", self.dir.display());
            return Err(Error::new(format!("-o {}", name.display()), why).hint("write it elsewhere"));
        }
        Ok(())
    }

    fn pack_to(
        &self,
        (upper, prefix): (&OwnedFd, Prefix),
        form: Form,
        out: impl Write,
        doing: impl Fn() -> String + Copy,
    ) -> Result<()> {
        let stream = Stream::new(form, BufWriter::with_capacity(1 << 16, out)).doing(doing)?;
        let mut out = pack(upper, prefix, self.clamp_mtime, stream)?.finish().doing(doing)?;
        out.flush().doing(doing)
    }
}
