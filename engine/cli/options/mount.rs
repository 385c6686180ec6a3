//! `--mount type=bind,source=/a,target=/b,readonly`: one CSV record of keys and values.

use anyhow::{Context, bail, ensure};
use berth_api::models::{
    Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType, MountVolumeOptions,
    MountVolumeOptionsDriverConfig,
};

use super::{bytes, csv};

fn propagation(word: &str) -> anyhow::Result<MountBindOptionsPropagationEnum> {
    use MountBindOptionsPropagationEnum as P;
    Ok(match word {
        "private" => P::PRIVATE,
        "rprivate" => P::RPRIVATE,
        "shared" => P::SHARED,
        "rshared" => P::RSHARED,
        "slave" => P::SLAVE,
        "rslave" => P::RSLAVE,
        _ => bail!("invalid propagation {word:?}: expected private, rprivate, shared, rshared, slave or rslave"),
    })
}

/// A source that begins with a dot is meant from the user's folder, which the engine does not know.
pub(crate) fn from_here(source: &str) -> anyhow::Result<String> {
    if !source.starts_with('.') {
        return Ok(source.to_owned());
    }
    let path = std::path::absolute(source).with_context(|| format!("find {source}"))?;
    path.into_os_string().into_string().map_err(|path| anyhow::anyhow!("mount source {path:?} is not in UTF-8"))
}

pub(crate) fn parse(text: &str) -> anyhow::Result<Mount> {
    ensure!(!text.trim().is_empty(), "value is empty");
    let mut mount = Mount { typ: Some(MountType::VOLUME), ..Mount::default() };
    let mut bind = MountBindOptions::default();
    let mut volume = MountVolumeOptions::default();
    let mut tmpfs = MountTmpfsOptions::default();
    for field in csv::fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.trim().to_ascii_lowercase(), Some(value)),
            None => (field.trim().to_ascii_lowercase(), None),
        };
        let switch = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => bail!("invalid value for {key}: {other}"),
        };
        let needed = || value.with_context(|| format!("invalid field '{field}' must be a key=value pair"));
        match key.as_str() {
            "readonly" | "ro" => mount.read_only = Some(switch()?),
            "type" => {
                mount.typ = Some(match needed()?.to_ascii_lowercase().as_str() {
                    "bind" => MountType::BIND,
                    "volume" => MountType::VOLUME,
                    "tmpfs" => MountType::TMPFS,
                    "image" => MountType::IMAGE,
                    other => bail!("invalid mount type {other:?}: expected bind, volume, tmpfs or image"),
                });
            }
            "source" | "src" => mount.source = Some(from_here(needed()?)?),
            "target" | "dst" | "destination" => mount.target = Some(needed()?.to_owned()),
            "consistency" => mount.consistency = Some(needed()?.to_ascii_lowercase()),
            "bind-propagation" => bind.propagation = Some(propagation(&needed()?.to_ascii_lowercase())?),
            "bind-nonrecursive" => bind.non_recursive = Some(switch()?),
            "bind-recursive" => match needed()? {
                "enabled" => {}
                "disabled" => bind.non_recursive = Some(true),
                "writable" => bind.read_only_non_recursive = Some(true),
                "readonly" => bind.read_only_force_recursive = Some(true),
                other => bail!("invalid value for {key}: {other} (must be enabled, disabled, writable or readonly)"),
            },
            "bind-create-src" => bind.create_mountpoint = Some(switch()?),
            "volume-subpath" => volume.subpath = Some(needed()?.to_owned()),
            "volume-nocopy" => volume.no_copy = Some(switch()?),
            "volume-label" => {
                let (name, value) = needed()?.split_once('=').unwrap_or((needed()?, ""));
                volume.labels.get_or_insert_default().insert(name.to_owned(), value.to_owned());
            }
            "volume-driver" => {
                volume.driver_config.get_or_insert_with(MountVolumeOptionsDriverConfig::default).name =
                    Some(needed()?.to_owned());
            }
            "volume-opt" => {
                let (name, value) = needed()?.split_once('=').unwrap_or((needed()?, ""));
                let driver = volume.driver_config.get_or_insert_with(MountVolumeOptionsDriverConfig::default);
                driver.options.get_or_insert_default().insert(name.to_owned(), value.to_owned());
            }
            "tmpfs-size" => tmpfs.size_bytes = Some(bytes::parse(needed()?).map_err(anyhow::Error::msg)?),
            "tmpfs-mode" => {
                let mode = i64::from_str_radix(needed()?, 8).with_context(|| format!("invalid value for {key}"))?;
                tmpfs.mode = Some(mode);
            }
            "tmpfs-options" => {
                let words = needed()?.split(',').filter(|word| !word.is_empty());
                let words = words.map(|word| word.splitn(2, '=').map(str::to_owned).collect());
                tmpfs.options.get_or_insert_default().extend(words);
            }
            other => {
                needed()?;
                bail!("unexpected key '{other}' in '{field}'")
            }
        }
    }
    ensure!(mount.target.as_deref().is_some_and(|target| !target.is_empty()), "target is required");
    let kind = mount.typ;
    let given = [
        ("bind-*", bind != MountBindOptions::default(), kind == Some(MountType::BIND)),
        ("volume-*", volume != MountVolumeOptions::default(), kind == Some(MountType::VOLUME)),
        ("tmpfs-*", tmpfs != MountTmpfsOptions::default(), kind == Some(MountType::TMPFS)),
    ];
    for (options, present, fits) in given {
        let name = kind.map(|kind| kind.to_string()).unwrap_or_default();
        ensure!(!present || fits, "cannot mix '{options}' options with mount type '{name}'");
    }
    if given[0].1 {
        mount.bind_options = Some(bind);
    }
    if given[1].1 {
        mount.volume_options = Some(volume);
    }
    if given[2].1 {
        mount.tmpfs_options = Some(tmpfs);
    }
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_mount_with_options_is_read() {
        let mount = parse("type=bind,\"src=/a,b\",dst=/c,ro,bind-propagation=rslave").unwrap();
        assert_eq!(mount.source.as_deref(), Some("/a,b"));
        assert_eq!(mount.target.as_deref(), Some("/c"));
        assert_eq!(mount.read_only, Some(true));
        assert_eq!(mount.bind_options.unwrap().propagation, Some(MountBindOptionsPropagationEnum::RSLAVE));
    }

    #[test]
    fn a_source_with_a_dot_is_meant_from_here() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(parse("type=bind,src=./a,dst=/c").unwrap().source.unwrap(), here.join("a").to_str().unwrap());
        assert_eq!(from_here("name").unwrap(), "name");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (text, word) in [
            ("", "empty"),
            ("type=bind,src=/a", "target"),
            ("type=nonsense,dst=/a", "nonsense"),
            ("dst=/a,colour=red", "unexpected key 'colour' in 'colour=red'"),
            ("dst=/a,colour", "invalid field 'colour' must be a key=value pair"),
            ("type=tmpfs,dst=/a,bind-propagation=shared", "cannot mix"),
            ("type=tmpfs,dst=/a,tmpfs-mode=9", "tmpfs-mode"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
