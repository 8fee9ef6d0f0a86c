# written by fabrelease for flask-todo on web1; changes here are overwritten by the next deploy;
# override templates/gunicorn/gunicorn.conf.py.j2 in your project instead

workers = 2
timeout = 30
graceful_timeout = 30
# Longer than nginx keeps a connection it does not use: gunicorn never closes one that nginx is about to use.
keepalive = 15
proc_name = 'flask-todo'
accesslog = "-"
errorlog = "-"
# The peer is always nginx; the client's address is what nginx says it is.
access_log_format = '%({x-forwarded-for}i)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
# Workers touch a file here to say that they are alive: a slow disk must not get them killed.
worker_tmp_dir = "/dev/shm"
# Who may send X-Forwarded-Proto and SCRIPT_NAME: nginx on this host. (Over a unix socket it always may.)
forwarded_allow_ips = "127.0.0.1,::1"
# This umask is for the socket alone; who may reach it is decided by its directory, which only the user and
# nginx enter.
umask = 0
# For ASGI workers; WSGI ones are told by nginx, in SCRIPT_NAME.
root_path = '/todo'
# By default there is one control socket a user, which two releases would take from each other.
control_socket_disable = True

# web.settings
worker_class = 'gthread'
threads = 4
timeout = 45
raw_env = ['A=b c']

# What the release depends on.
wsgi_app = 'flasktodo:app'
bind = '127.0.0.1:8004'
chdir = '/srv/flask-todo/releases/20261121T104500Z-1a2b3c4/public'
daemon = False
