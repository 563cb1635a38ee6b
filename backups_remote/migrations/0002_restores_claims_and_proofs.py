import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("backups_remote", "0001_initial"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="backup",
            options={
                "ordering": ["-created_at", "-id"],
                "permissions": [("forget_backup", "Can forget backup")],
                "verbose_name": "backup",
                "verbose_name_plural": "backups",
            },
        ),
        migrations.AddField(
            model_name="backup",
            name="claimed_by",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                max_length=32,
                verbose_name="claimed by",
            ),
        ),
        migrations.AddField(
            model_name="backup",
            name="object_etag",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Of the object that proved this backup whole, without quotes.",
                max_length=1024,
                verbose_name="object ETag",
            ),
        ),
        migrations.AddField(
            model_name="backup",
            name="quiet_until",
            field=models.DateTimeField(
                blank=True,
                editable=False,
                help_text="Until when the upload is neither completed nor aborted, after a completion that the store did not answer in time and may still be working on.",
                null=True,
                verbose_name="quiet until",
            ),
        ),
        migrations.AddField(
            model_name="backup",
            name="refusal",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="Why the last report was not accepted. An accepted one clears it.",
                max_length=1024,
                verbose_name="reason of the refusal",
            ),
        ),
        migrations.AddField(
            model_name="backup",
            name="refused_at",
            field=models.DateTimeField(
                blank=True, editable=False, null=True, verbose_name="report refused"
            ),
        ),
        migrations.AddField(
            model_name="backup",
            name="was_locked",
            field=models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                help_text="The lock returns if the backup is completed after all.",
                verbose_name="locked before it failed",
            ),
        ),
        migrations.AddField(
            model_name="server",
            name="restore_started_at",
            field=models.DateTimeField(
                blank=True, editable=False, null=True, verbose_name="restore started"
            ),
        ),
        migrations.AddField(
            model_name="server",
            name="restoring_backup",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                help_text="Empty while the status says that a restore is going on: it is not known.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="backups_remote.backup",
                verbose_name="backup being restored",
            ),
        ),
        migrations.AlterField(
            model_name="backup",
            name="claimed_until",
            field=models.DateTimeField(
                blank=True,
                editable=False,
                help_text="Until when its holder alone completes this backup; a living one renews it.",
                null=True,
                verbose_name="claimed until",
            ),
        ),
        migrations.AddIndex(
            model_name="server",
            index=models.Index(
                fields=["status", "restore_started_at"], name="backups_remote_restoring"
            ),
        ),
    ]
