# Airflow on Nomad, with the images of the Dockerfile. In this folder:
#   nomad var put nomad/jobs/airflow @secrets.json   (as README.rst shows it)
#   nomad job run airflow.nomad.hcl
#
# The configuration of the Nomad clients needs
#   client {
#     max_kill_timeout = "40m"   # 30 s by default, which would cap kill_timeout
#     host_volume "airflow-dags" { path = "/srv/airflow/dags" }   # and likewise airflow-logs, dkist-cache, dkist-spool
#   }
# The last three belong to the user 50000 of the images.

variable "scheduler_image" {
  type    = string
  default = "registry.example.org/dkist-scheduler:8.0.0"
}

variable "worker_image" {
  type    = string
  default = "registry.example.org/dkist-worker:8.0.0"
}

variable "workers" {
  type    = number
  default = 2
}

variable "queues" {
  type    = string
  default = "default,high_memory,multi_core,gpu"
}

locals {
  # The lines of airflow.env, with each value as a JSON string, which Nomad can parse whatever characters it contains.
  lines    = [for line in split("\n", file("airflow.env")) : line if can(regex("^[A-Z]", line))]
  settings = join("\n", [for line in local.lines : "${split("=", line)[0]}=${jsonencode(regex("=(.*)", line)[0])}"])

  # entrypoint.sh reads each secret from the file with its name.
  database          = ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CORE__FERNET_KEY"]
  celery            = ["AIRFLOW__CELERY__BROKER_URL", "AIRFLOW__CELERY__RESULT_BACKEND"]
  scheduler_secrets = concat(local.database, local.celery, ["AIRFLOW__API_AUTH__JWT_SECRET"])
  parser_secrets    = concat(local.database, ["ISB_PASSWORD"])
  api_secrets       = concat(local.database, ["AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__API__SECRET_KEY"])
  worker_secrets    = concat(local.celery, ["AIRFLOW__API__SECRET_KEY", "ISB_PASSWORD", "PIP_INDEX_URL"])
}

job "airflow" {
  type = "service"

  group "scheduler" {
    network {
      mode = "host"
      port "api" {
        static = 8080
      }
    }

    service {
      name     = "airflow-api"
      port     = "api"
      provider = "nomad"

      check {
        type     = "http"
        path     = "/api/v2/monitor/health"
        interval = "30s"
        timeout  = "10s"
      }
    }

    volume "airflow-dags" {
      type      = "host"
      source    = "airflow-dags"
      read_only = true
    }

    volume "airflow-logs" {
      type      = "host"
      source    = "airflow-logs"
      read_only = false
    }

    volume "dkist-spool" {
      type      = "host"
      source    = "dkist-spool"
      read_only = false
    }

    task "setup" {
      driver       = "docker"
      user         = "50000:50000"
      kill_signal  = "SIGTERM"
      kill_timeout = "90s"

      lifecycle {
        hook = "prestart"
      }

      config {
        image           = var.scheduler_image
        args            = ["sh", "-c", "airflow db migrate && airflow pools import ${NOMAD_TASK_DIR}/pools.json"]
        network_mode    = "host"
        init            = true
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]

        mount {
          type   = "tmpfs"
          target = "/tmp"
        }
      }

      template {
        data        = local.settings
        destination = "local/airflow.env"
        env         = true
      }

      dynamic "template" {
        for_each = local.database
        content {
          data        = "{{ with nomadVar \"nomad/jobs/airflow\" }}{{ .${template.value} }}{{ end }}"
          destination = "secrets/${template.value}"
          perms       = "400"
          uid         = 50000
          gid         = 50000
        }
      }

      template {
        data        = file("pools.json")
        destination = "local/pools.json"
      }

      resources {
        cpu    = 500
        memory = 1024
      }
    }

    task "scheduler" {
      driver       = "docker"
      user         = "50000:50000"
      kill_signal  = "SIGTERM"
      kill_timeout = "90s"

      config {
        image           = var.scheduler_image
        args            = ["airflow", "scheduler", "--skip-serve-logs"]
        network_mode    = "host"
        init            = true
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]

        mount {
          type   = "tmpfs"
          target = "/tmp"
        }
      }

      template {
        data        = local.settings
        destination = "local/airflow.env"
        env         = true
      }

      dynamic "template" {
        for_each = local.scheduler_secrets
        content {
          data        = "{{ with nomadVar \"nomad/jobs/airflow\" }}{{ .${template.value} }}{{ end }}"
          destination = "secrets/${template.value}"
          perms       = "400"
          uid         = 50000
          gid         = 50000
        }
      }

      volume_mount {
        volume      = "airflow-dags"
        destination = "/srv/airflow/dags"
        read_only   = true
      }

      volume_mount {
        volume      = "airflow-logs"
        destination = "/var/log/airflow"
      }

      resources {
        cpu    = 1000
        memory = 2048
      }
    }

    task "dag-processor" {
      driver       = "docker"
      user         = "50000:50000"
      kill_signal  = "SIGTERM"
      kill_timeout = "90s"

      config {
        image           = var.scheduler_image
        args            = ["airflow", "dag-processor"]
        network_mode    = "host"
        init            = true
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]

        mount {
          type   = "tmpfs"
          target = "/tmp"
        }
      }

      template {
        data        = local.settings
        destination = "local/airflow.env"
        env         = true
      }

      dynamic "template" {
        for_each = local.parser_secrets
        content {
          data        = "{{ with nomadVar \"nomad/jobs/airflow\" }}{{ .${template.value} }}{{ end }}"
          destination = "secrets/${template.value}"
          perms       = "400"
          uid         = 50000
          gid         = 50000
        }
      }

      volume_mount {
        volume      = "airflow-dags"
        destination = "/srv/airflow/dags"
        read_only   = true
      }

      volume_mount {
        volume      = "airflow-logs"
        destination = "/var/log/airflow"
      }

      volume_mount {
        volume      = "dkist-spool"
        destination = "/var/lib/dkist"
      }

      resources {
        cpu    = 1000
        memory = 2048
      }
    }

    task "api-server" {
      driver       = "docker"
      user         = "50000:50000"
      kill_signal  = "SIGTERM"
      kill_timeout = "90s"

      config {
        image           = var.scheduler_image
        args            = ["airflow", "api-server"]
        network_mode    = "host"
        init            = true
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]

        mount {
          type   = "tmpfs"
          target = "/tmp"
        }
      }

      template {
        data        = local.settings
        destination = "local/airflow.env"
        env         = true
      }

      dynamic "template" {
        for_each = local.api_secrets
        content {
          data        = "{{ with nomadVar \"nomad/jobs/airflow\" }}{{ .${template.value} }}{{ end }}"
          destination = "secrets/${template.value}"
          perms       = "400"
          uid         = 50000
          gid         = 50000
        }
      }

      volume_mount {
        volume      = "airflow-logs"
        destination = "/var/log/airflow"
      }

      resources {
        cpu    = 1000
        memory = 2048
      }
    }
  }

  group "worker" {
    count = var.workers

    # A replaced worker may take up to kill_timeout to end, and holds its port until then. With the default of 10 min,
    # Nomad would fail the deployment, and the other workers would not be replaced.
    update {
      progress_deadline = "1h"
    }

    # Airflow's API server reads the logs of tasks at this port, so a Nomad client can run only one worker.
    network {
      mode = "host"
      port "logs" {
        static = 8793
      }
    }

    volume "airflow-dags" {
      type      = "host"
      source    = "airflow-dags"
      read_only = true
    }

    volume "airflow-logs" {
      type      = "host"
      source    = "airflow-logs"
      read_only = false
    }

    volume "dkist-cache" {
      type      = "host"
      source    = "dkist-cache"
      read_only = false
    }

    volume "dkist-spool" {
      type      = "host"
      source    = "dkist-spool"
      read_only = false
    }

    task "worker" {
      driver       = "docker"
      user         = "50000:50000"

      # More than DKIST_DRAIN_SECONDS and DKIST_GRACE_SECONDS together, with time to report.
      kill_signal  = "SIGTERM"
      kill_timeout = "35m"

      config {
        image           = var.worker_image
        args            = ["/opt/dkist/worker.sh", "airflow", "celery", "worker", "--queues", var.queues]
        network_mode    = "host"
        init            = true
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]

        mount {
          type   = "tmpfs"
          target = "/tmp"
        }
      }

      template {
        data        = local.settings
        destination = "local/airflow.env"
        env         = true
      }

      dynamic "template" {
        for_each = local.worker_secrets
        content {
          data        = "{{ with nomadVar \"nomad/jobs/airflow\" }}{{ .${template.value} }}{{ end }}"
          destination = "secrets/${template.value}"
          perms       = "400"
          uid         = 50000
          gid         = 50000
        }
      }

      volume_mount {
        volume      = "airflow-dags"
        destination = "/srv/airflow/dags"
        read_only   = true
      }

      volume_mount {
        volume      = "airflow-logs"
        destination = "/var/log/airflow"
      }

      volume_mount {
        volume      = "dkist-cache"
        destination = "/var/cache/dkist"
      }

      volume_mount {
        volume      = "dkist-spool"
        destination = "/var/lib/dkist"
      }

      resources {
        cpu    = 4000
        memory = 16384
      }
    }
  }
}
