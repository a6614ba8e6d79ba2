// Numbered ids would depend on the checkout's folder name and change the output.
module.exports = {
  optimization: { moduleIds: 'named', chunkIds: 'named' },
};
