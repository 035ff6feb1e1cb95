# The studio in a container; see the README for `docker run`.
FROM python:3.12-slim

COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt "/src[figures]" && rm -rf /src

RUN useradd --create-home studio && mkdir -p /studio/runs && chown -R studio /studio
USER studio
WORKDIR /studio
ENV SAP_RUNS=/studio/runs
EXPOSE 8501
CMD ["sap", "studio", "--host", "0.0.0.0", "--port", "8501"]
