set :application, "capistrano"
set :repo_url, ENV.fetch("BENCH_REPOSITORY")
set :branch, ENV.fetch("BENCH_REVISION")
set :deploy_to, ENV.fetch("BENCH_ROOT")
set :keep_releases, 5
set :format, :dot

namespace :deploy do
  task :requirements do
    on roles(:app) do
      execute :python3, "-m", "venv", "#{deploy_to}/env" unless test("[ -x #{deploy_to}/env/bin/pip ]")
      # The fast way: pip is asked only where the file changed.
      installed = "#{deploy_to}/env/requirements.txt"
      execute "cmp -s #{release_path}/requirements.txt #{installed} || { #{deploy_to}/env/bin/pip install --quiet " \
              "--requirement #{release_path}/requirements.txt && cp #{release_path}/requirements.txt #{installed}; }"
    end
  end

  task :restart do
    on roles(:app) do
      execute :sudo, :supervisorctl, :restart, File.basename(deploy_to.to_s)
    end
  end

  after :updated, :requirements
  after :published, :restart
end
