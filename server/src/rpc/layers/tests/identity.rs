use super::*;

fn config() -> Config {
    let tenant = |token: &str| Tenant { token_sha256: vec![token_sha256(token)], ..Tenant::default() };
    let tenants = [("a".to_owned(), tenant(TOKEN)), ("b".to_owned(), tenant("another-token-of-b"))];
    Config { tenants: tenants.into(), ..Config::default() }
}

/// Answers with the tenant that the layer found.
async fn tell_tenant(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let tenant = request.extensions().get::<Identity>().map_or("nobody", |identity| identity.tenant.as_str());
    Ok(Response::builder().header("tenant", tenant).body(Body::empty()).unwrap())
}

async fn tenant(config: &Config, request: Request<Body>) -> String {
    let response = answer(IdentityLayer::new(config).layer(service_fn(tell_tenant)), request).await;
    response.headers()["tenant"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn in_development_everybody_is_tenant_default_whatever_they_show() {
    let config = Config::default();
    assert_eq!(tenant(&config, call(STAT, "")).await, "default");
    assert_eq!(tenant(&config, with_header(call(STAT, ""), "authorization", "Bearer nonsense")).await, "default");
}

#[tokio::test]
async fn token_tells_the_tenant() {
    let config = config();
    for credential in [format!("Bearer {TOKEN}"), format!("bearer  {TOKEN}")] {
        assert_eq!(tenant(&config, with_header(call(STAT, ""), "authorization", &credential)).await, "a");
    }
    let of_b = with_header(call(STAT, ""), "authorization", "Bearer another-token-of-b");
    assert_eq!(tenant(&config, of_b).await, "b");
}

#[tokio::test]
async fn health_needs_no_token_and_gets_no_identity() {
    assert_eq!(tenant(&config(), call(CHECK, "")).await, "nobody");
    assert_eq!(tenant(&Config::default(), call(CHECK, "")).await, "nobody");
}

#[tokio::test]
async fn missing_wrong_doubled_or_oversized_token_is_unauthenticated_before_the_handler() {
    let layer = IdentityLayer::new(&config());
    let good = format!("Bearer {TOKEN}");
    let with = |credential: &str| with_header(call(STAT, ""), "authorization", credential);
    let requests = [
        call(STAT, ""),
        with(""),
        with("Bearer"),
        with("Bearer "),
        with("Bearer wrong-wrong-wrong-wrong"),
        with(&format!("Bearer {TOKEN}x")),
        with(&format!("Bearer {}", token_sha256(TOKEN))),
        with(&format!("Basic {TOKEN}")),
        with(TOKEN),
        with_header(with(&good), "authorization", &good),
        with(&format!("Bearer {}", "x".repeat(8 << 10))),
        with_header(call("/grpc.health.v1.HealthX/Check", ""), "authorization", "Bearer wrong"),
    ];
    for request in requests {
        let shown = format!("{request:?}");
        let response = answer(layer.layer(service_fn(unreachable_handler)), request).await;
        assert_refused(&response, Code::Unauthenticated, ErrorReason::Unauthenticated, Outcome::NotApplied);
        let message = Status::from_header_map(response.headers()).unwrap().message().to_owned();
        assert!(!message.contains(TOKEN), "{shown}: the message shows the token: {message}");
    }
}

#[tokio::test]
async fn entry_that_is_no_hash_lets_nobody_in() {
    let mut config = config();
    for hash in ["", "zz", "00"] {
        config.tenants.get_mut("a").unwrap().token_sha256 = vec![hash.to_owned()];
        let layer = IdentityLayer::new(&config);
        let request = with_header(call(STAT, ""), "authorization", &format!("Bearer {TOKEN}"));
        let response = answer(layer.layer(service_fn(unreachable_handler)), request).await;
        assert_eq!(refused(&response).0, Code::Unauthenticated);
    }
}
