//! What a server is believed by, and what we show it: the settings for TLS, as options and as a part of a context.

use super::{
    context,
    failure::{Exit, Failure},
    variable,
};
use inkpot_client::ClientBuilder;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

const CA_FILE: &str = "--ca-file";
const CLIENT_CERT: &str = "--client-cert";
const CLIENT_KEY: &str = "--client-key";
const SERVER_NAME: &str = "--server-name";

/// The settings, as given. None: those of this system, and nothing is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[command(next_help_heading = "TLS options")]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// The CAs that are believed instead of those of this system, in PEM
    #[arg(long, global = true, value_name = "FILE")]
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "context::absolute_path")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Certificate to show to a server that asks for one, in PEM; goes with --client-key
    #[arg(long, global = true, value_name = "FILE")]
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "context::absolute_path")]
    pub(crate) client_cert: Option<PathBuf>,
    /// Key of this certificate, in PEM
    #[arg(long, global = true, value_name = "FILE")]
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "context::absolute_path")]
    pub(crate) client_key: Option<PathBuf>,
    /// Name that the certificate of the server must have, if it is not the host of the endpoint
    #[arg(long, global = true, value_name = "NAME")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_name: Option<String>,
}

impl Tls {
    pub(crate) fn is_unset(&self) -> bool {
        *self == Self::default()
    }

    /// These, and each that is missing from its variable.
    pub(crate) fn or_variables(self) -> Result<Self, Failure> {
        let path = |given: Option<PathBuf>, name| given.or_else(|| variable::path(name));
        Ok(Self {
            ca_file: path(self.ca_file, "INKPOT_CA_FILE"),
            client_cert: path(self.client_cert, "INKPOT_CLIENT_CERT"),
            client_key: path(self.client_key, "INKPOT_CLIENT_KEY"),
            server_name: self
                .server_name
                .map_or_else(|| variable::text("INKPOT_SERVER_NAME"), |name| Ok(Some(name)))?,
        })
    }

    /// These, and where they are silent those of a context. A certificate and its key come from the same place.
    pub(crate) fn or(self, kept: Self) -> Self {
        let own_pair = self.client_cert.is_some() || self.client_key.is_some();
        let (client_cert, client_key) =
            if own_pair { (self.client_cert, self.client_key) } else { (kept.client_cert, kept.client_key) };
        Self {
            ca_file: self.ca_file.or(kept.ca_file),
            client_cert,
            client_key,
            server_name: self.server_name.or(kept.server_name),
        }
    }

    /// Hands them to the library, which reads the files when it makes the client.
    ///
    /// # Errors
    /// A certificate without its key, or the reverse.
    pub(crate) fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, Failure> {
        if let Some(file) = &self.ca_file {
            builder = builder.ca_file(file);
        }
        if let Some(name) = &self.server_name {
            builder = builder.server_name(name);
        }
        let lonely = |given, missing| Failure::new(Exit::Usage, format!("{given} needs {missing} beside it"));
        match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => Ok(builder.client_certificate_files(certificate, key)),
            (Some(_), None) => Err(lonely(CLIENT_CERT, CLIENT_KEY)),
            (None, Some(_)) => Err(lonely(CLIENT_KEY, CLIENT_CERT)),
            (None, None) => Ok(builder),
        }
    }

    /// The same, with other paths.
    pub(crate) fn try_map_files<E>(self, map: impl Fn(PathBuf) -> Result<PathBuf, E>) -> Result<Self, E> {
        Ok(Self {
            ca_file: self.ca_file.map(&map).transpose()?,
            client_cert: self.client_cert.map(&map).transpose()?,
            client_key: self.client_key.map(&map).transpose()?,
            server_name: self.server_name,
        })
    }

    /// What is set, by the name of its option.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let all = [
            (CA_FILE, shown(&self.ca_file)),
            (CLIENT_CERT, shown(&self.client_cert)),
            (CLIENT_KEY, shown(&self.client_key)),
            (SERVER_NAME, self.server_name.as_deref().map(Cow::from)),
        ];
        all.into_iter().filter_map(|(option, value)| Some((option, value?)))
    }

    /// Where to look after the library, which knows no options, has said this: at those whose values it names, or else
    /// at all that are set. Empty if it is not about TLS.
    pub(crate) fn advice(&self, words: &str) -> String {
        if !words.contains("TLS") {
            return String::new();
        }
        let (named, others): (Vec<_>, Vec<_>) = self.given().partition(|(_, value)| words.contains(value.as_ref()));
        let found = if named.is_empty() { others } else { named };
        let options: Vec<&str> = found.into_iter().map(|(option, _)| option).collect();
        if options.is_empty() { String::new() } else { format!("; see {}", options.join(", ")) }
    }
}

fn shown(file: &Option<PathBuf>) -> Option<Cow<'_, str>> {
    file.as_deref().map(Path::to_string_lossy)
}

#[cfg(test)]
mod tests;
