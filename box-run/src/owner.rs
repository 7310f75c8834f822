//! Who the box's root is outside: for a root of its own that root makes, nobody. A user namespace maps it to a range of
//! ids that /etc/subuid has for root, and what the box is made of is shown in it with its owners.

use std::{mem, path::Path};

use chain::{Error, IdMap, Result};
use ns_enter::{Kind, Map, Namespaces, Range, spare_range};
use root_enter::{Bind, Details, Entries, Entry, From, Owners, RootEnter, Tmpfs};

use crate::{
    Args, place,
    privileges::{is_admin_of_machine, is_root_outside, names_user_namespace},
};

/// How many ids a box has: as many as distributions use, with nobody, 65534.
pub(crate) const IDS: u32 = 65536;
const OTHERWISE: &str = "--check has a line that can be; --allow-host-root goes on without";

/// The namespaces with that of users, if root in the box is to be somebody else outside, and as whom owners are shown then.
pub(crate) fn map(args: &Args, wanted: Namespaces, is_host: bool) -> Result<(Namespaces, Option<IdMap>)> {
    let is_named = names_user_namespace(args);
    let owners = match &args.layers.idmap {
        Some(map) => {
            check_typed(map, is_host, is_named)?;
            map.clone()
        }
        None if is_host || is_named || args.allow.allow_host_root || !is_root_outside() => {
            return Ok((wanted, None));
        }
        None => match ids().map_err(|error| error.hint(OTHERWISE))? {
            Some(_) if !is_admin_of_machine() => {
                let why = "only who has CAP_SYS_ADMIN maps it to the ids that /etc/subuid has for it";
                return Err(Error::new("root of the box", why).hint("--allow-host-root goes on without"));
            }
            Some(Range { inside, outside, count }) => IdMap(vec![[inside, outside, count]]),
            None => return Ok((wanted, None)),
        },
    };
    if args.made.gid_map.is_some() || args.made.owner.is_some() {
        return Err(Error::new(
            "--gid-map, --owner",
            format!("users and groups of the box are mapped {owners}"),
        )
        .hint("name the whole map with --ns user="));
    }
    let ranges = owners.0.iter().map(|[inside, outside, count]| format!("{inside}:{outside}:{count}"));
    let ranges = ranges.collect::<Vec<_>>().join("+");
    let map: Map = ranges.parse().map_err(|why: String| Error::new(format!("--idmap {owners}"), why))?;
    Ok((Namespaces { map, ..wanted.with_new(Kind::User) }, Some(owners)))
}

fn check_typed(map: &IdMap, is_host: bool, is_named: bool) -> Result<()> {
    let (why, hint) = match (is_host, is_named, is_admin_of_machine()) {
        (true, ..) => ("it is about a root of the box's own", "add --root, or use --bind with idmap="),
        (_, _, false) => ("only root maps owners, and not in a user namespace", "use --ns user=auto"),
        (_, true, _) => ("it makes a user namespace, and --ns names another", "leave one of them out"),
        _ => return Ok(()),
    };
    Err(Error::new(format!("--idmap {map}"), why).hint(hint))
}

/// Those that /etc/subuid has for boxes of root's.
pub(crate) fn ids() -> Result<Option<Range>> {
    spare_range(IDS)
}

/// What goes into the root, with the map of the box in the place of `idmap=box`.
pub(crate) fn shown(entries: &[Entry], owners: Option<&IdMap>, is_other: bool) -> Result<Vec<Entry>> {
    let shown = |entry: &Entry| match entry {
        Entry::Bind(bind) if bind.id_map == Some(Owners::Box) => {
            // Where the box is in the user namespace of the caller, owners are shown as they are.
            if is_other && owners.is_none() {
                let why = "this box has a user namespace, but no map of root's";
                return Err(Error::new(format!("bind {}: idmap=box", bind.from), why)
                    .hint("leave it out, or as root write the map, as in idmap=0-100000-65536"));
            }
            Ok(Entry::Bind(Bind { id_map: owners.cloned().map(Owners::Map), ..bind.clone() }))
        }
        _ => Ok(entry.clone()),
    };
    entries.iter().map(shown).collect()
}

/// For a chain, the link that binds what is outside, and maps it, before the user namespace is made; `entries` then bind what
/// is where that link has put it, which is apart from the place of the root. `None` if nothing is bound.
pub(crate) fn laid_out(entries: &mut Entries, place: &Path) -> Result<Option<RootEnter>> {
    let mut outside = Vec::new();
    let dir = place::another(place);
    for entry in &mut entries.0 {
        let Entry::Bind(bind) = entry else { continue };
        let to = dir.as_ref().map_err(Clone::clone)?.join(outside.len().to_string());
        let inside = Bind { from: From::Path(to.clone()), id_map: None, ..bind.clone() };
        outside.push(Entry::Bind(Bind { to, ..mem::replace(bind, inside) }));
    }
    if outside.is_empty() {
        return Ok(None);
    }
    outside.insert(0, Entry::Tmpfs(Tmpfs { to: dir?, size: None, mode: Some(0o755) }));
    // Nothing else of the host's tree changes.
    let details = Details {
        no_proc: true,
        no_dev: true,
        suid: true,
        device_files: true,
        host_next: true,
        ..Details::default()
    };
    Ok(Some(RootEnter::new("/".into(), Entries(outside)).with(details)))
}
