"""A plain implementation with REST framework and boto3, on the same tables.

The comparison is fair: the client is built once, the row is fetched with its server, and JSON is
REST framework's own. Every part is signed with ``generate_presigned_url``, as in boto3's manual.
"""

import functools
import math

import boto3
from botocore.config import Config
from django.conf import settings
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from backups_remote.authentication import NodeAuthentication
from backups_remote.models import Backup
from benchmarks.site.empty import IsNode


@functools.cache
def client():
    options = settings.STORAGES["s3"]["OPTIONS"]
    return boto3.client(
        "s3",
        endpoint_url=options["endpoint_url"],
        region_name=options["region_name"],
        aws_access_key_id=options["access_key"],
        aws_secret_access_key=options["secret_key"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


class SizeSerializer(serializers.Serializer):
    size = serializers.IntegerField(min_value=1)


class BackupView(APIView):
    authentication_classes = [NodeAuthentication]
    permission_classes = [IsNode]
    renderer_classes = [JSONRenderer]

    def get(self, request, backup):
        query = SizeSerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        size = query.validated_data["size"]
        found = get_object_or_404(
            Backup.objects.select_related("server"), uuid=backup, node=request.auth
        )
        target = {
            "Bucket": settings.STORAGES["s3"]["OPTIONS"]["bucket_name"],
            "Key": f"{found.server.uuid}/{found.uuid}.tar.gz",
        }
        upload = client().create_multipart_upload(**target, ContentType="application/x-gzip")
        part_size = settings.BACKUPS_REMOTE["MAX_PART_SIZE"]
        urls = [
            client().generate_presigned_url(
                "upload_part",
                Params={**target, "UploadId": upload["UploadId"], "PartNumber": number},
                ExpiresIn=3600,
            )
            for number in range(1, math.ceil(size / part_size) + 1)
        ]
        found.upload_id = upload["UploadId"]
        found.object_key = target["Key"]
        found.upload_size, found.part_size = size, part_size
        found.upload_started_at = found.created_at
        found.save()
        return Response({"parts": urls, "part_size": part_size})
