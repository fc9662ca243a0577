"""Real parts that the tests run against: a package index folder, bash, RabbitMQ, Airflow."""
