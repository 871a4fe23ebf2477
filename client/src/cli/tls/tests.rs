use super::*;

fn pair(certificate: Option<&str>, key: Option<&str>) -> Tls {
    Tls { client_cert: certificate.map(Into::into), client_key: key.map(Into::into), ..Tls::default() }
}

#[test]
fn what_is_given_wins_and_certificate_and_key_stay_together() {
    let kept = Tls { ca_file: Some("/ca".into()), server_name: Some("kept".into()), ..pair(Some("/c"), Some("/k")) };
    assert_eq!(Tls::default().or(kept.clone()), kept);
    assert_eq!(kept.clone().or(pair(Some("c"), Some("k"))), kept);
    let named = Tls { server_name: Some("given".into()), ..Tls::default() };
    assert_eq!(named.or(kept.clone()), Tls { server_name: Some("given".into()), ..kept.clone() });
    let own_pair = pair(Some("c"), None).or(kept.clone());
    assert_eq!(own_pair, Tls { client_cert: Some("c".into()), client_key: None, ..kept }, "no key of another place");
}

#[test]
fn advice_names_the_options_that_an_error_is_about() {
    let tls = Tls { ca_file: Some("/ca.pem".into()), ..pair(Some("/c.pem"), Some("/k.pem")) };
    assert_eq!(tls.advice("TLS: the CA /ca.pem cannot be read"), "; see --ca-file");
    assert_eq!(tls.advice("TLS: the certificate /c.pem with the key /k.pem"), "; see --client-cert, --client-key");
    assert_eq!(tls.advice("the settings for TLS need https://"), "; see --ca-file, --client-cert, --client-key");
    assert_eq!(tls.advice("the token must be visible ASCII"), "");
    assert_eq!(Tls::default().advice("TLS: the CA certificates of this system cannot be used"), "");
}
