FROM python:3.11-slim
WORKDIR /app
COPY requirements.lock pyproject.toml README.md ./
RUN pip install --no-cache-dir -r requirements.lock
COPY schemas schemas
COPY streams streams
RUN pip install --no-cache-dir --no-deps . && python -m streams.warmup
USER nobody
EXPOSE 6066
ENTRYPOINT ["crossmargin"]
CMD ["worker"]
