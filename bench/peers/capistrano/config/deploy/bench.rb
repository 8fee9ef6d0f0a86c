server "127.0.0.1",
  user: "deploy",
  roles: %w[app],
  ssh_options: {
    port: Integer(ENV.fetch("BENCH_PORT")),
    keys: [ENV.fetch("BENCH_KEY")],
    keys_only: true,
    auth_methods: %w[publickey],
    config: false,
    user_known_hosts_file: ENV.fetch("BENCH_KNOWN_HOSTS"),
    verify_host_key: :always
  }
