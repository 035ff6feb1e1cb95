# The studio in a container; see the README for `docker run`.
FROM python:3.12-slim

COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt "/src[figures]" && rm -rf /src

RUN useradd --create-home studio && mkdir -p /work/runs && chown -R studio /work
USER studio
WORKDIR /work
ENV SAP_RUNS=/work/runs
EXPOSE 8501
CMD ["sap", "studio", "--host", "0.0.0.0", "--port", "8501"]
