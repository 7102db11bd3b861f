insert into alarm (key, what) values ($1, $2)
